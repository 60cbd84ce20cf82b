"""Grey levels of more than 8 bits: no single pixel decides them, and 8 and 16 bits are alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data._files import decode, decode_checked
from trainables.images import levels
from trainables.images.levels import STRIP, natural_window, scaled

SHARED = Path(__file__).parents[4] / "shared" / "data"


def scene(seed: int = 0, low: int = 20, high: int = 230) -> np.ndarray:
    """An 8-bit picture: smooth, with texture."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 3, 90), np.linspace(0, 2, 70))
    smooth = (np.sin(x + seed) * np.cos(y) + 1) / 2
    return (low + (high - low) * smooth + rng.normal(0, 4, x.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("factor", [4, 16, 64, 256, 257])
def test_16_bits_of_a_picture_are_like_its_8(factor: int) -> None:
    for seed in range(5):
        picture = scene(seed, low=10 + 15 * seed, high=150 + 20 * seed)
        assert np.abs(scaled(picture.astype(np.uint16) * factor) - picture.astype(int)).max() <= 2


@pytest.mark.parametrize("white", [1, 255, 4095])
def test_floats_of_a_picture_are_like_its_8_bits(white: int) -> None:
    picture = scene()
    found = scaled((picture / 255 * white).astype(np.float32))
    assert np.abs(found - picture.astype(int)).max() <= 1


def test_real_pictures_are_alike() -> None:
    folders = ["isic-mini/ISIC_2019_Training_Input", "cxr-covid-mini/images"]
    files = [path for name in folders for path in sorted((SHARED / name).glob("*.jpg"))[::40]]
    if not files:
        pytest.skip(f"no real images: {SHARED} is not there")
    for path in files:
        picture = np.asarray(Image.open(path).convert("L"))
        found = scaled(picture.astype(np.uint16) * 257)
        wanted = picture.astype(int)
        if np.quantile(picture, 0.99) >= 128:  # darker ones are made brighter
            assert np.array_equal(found, wanted), path


HOT = {"hot": 65535, "negative": -30000, "infinite": np.inf, "nan": np.nan}


@pytest.mark.parametrize("kind", HOT)
@pytest.mark.parametrize(("scale", "offset"), [(16, 0), (3, 20_000), (1, -1000), (0.01, 7)])
def test_one_pixel_changes_nothing_else(kind: str, scale: float, offset: float) -> None:
    clean = (scene().astype(float) * scale + offset).astype(np.float32)
    spoilt = clean.copy()
    spoilt[3, 4] = HOT[kind]
    before, after = scaled(clean).astype(int), scaled(spoilt).astype(int)
    assert before.std() > 30
    after[3, 4] = before[3, 4]
    assert np.abs(before - after).max() <= 1
    assert scaled(spoilt)[3, 4] == (255 if kind in ("hot", "infinite") else 0)


def test_a_marker_burnt_in_leaves_the_contrast() -> None:
    spoilt = scene().astype(np.uint16) * 16
    clean = scaled(spoilt).std()
    spoilt[:7, :8] = 65535  # 0.9 % of the picture
    assert abs(scaled(spoilt)[7:].std() - clean) < 0.1 * clean


def test_a_stated_window_is_black_to_white() -> None:
    values = np.array([[-2000.0, -1000, -300, 400, 3000, np.nan]])
    assert scaled(values, (-1000, 400)).tolist() == [[0, 0, 128, 255, 255, 0]]
    assert scaled(values, (-1000, 400), inverted=True).tolist() == [[255, 255, 128, 0, 0, 0]]


def test_8_bits_stay_as_they_are() -> None:
    picture = scene(low=100, high=110)
    assert scaled(picture) is picture
    assert np.array_equal(scaled(picture, inverted=True), 255 - picture)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4"])
def test_strips_scale_like_the_whole(dtype: str) -> None:
    drawn = np.random.default_rng(0).integers(30_000, 31_000, (3 * STRIP + 5, 7))
    values = drawn.astype(dtype)
    black, white = natural_window(values)
    whole = np.round((drawn.astype(np.float64).clip(black, white) - black) * 255 / (white - black))
    assert np.abs(scaled(values).astype(int) - whole).max() <= 1
    assert 30_000 < black < 30_050
    assert 30_950 < white < 31_000


def test_a_picture_of_one_value_is_black() -> None:
    for value in (7, np.nan, np.inf):
        assert not scaled(np.full((4, 4), value)).any()


def test_few_bright_spots_are_seen() -> None:
    """A nuclear medicine scan: nearly all is 0."""
    values = np.zeros((100, 100), np.uint16)
    values[50, 40:60] = np.arange(20) * 15
    assert scaled(values).max() > 250
    assert natural_window(values) == (0, 270)


def test_large_pictures_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    values = scene().astype(np.uint16) * 3 + 20_000
    whole = natural_window(values)
    monkeypatch.setattr(levels, "SAMPLE", 1000)
    assert np.allclose(natural_window(values), whole, atol=15)


def test_files_with_nan_are_told(tmp_path: Path) -> None:
    values = (scene() / 255).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "clean.tif")
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "nan.tif")
    clean, sound = decode_checked(tmp_path / "clean.tif")
    spoilt, unsound = decode_checked(tmp_path / "nan.tif")
    assert (sound, unsound) == (True, False)
    assert np.array_equal(clean.ravel()[1:], spoilt.ravel()[1:])


def test_a_window_is_for_more_than_8_bits(tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "x.png")
    Image.fromarray(scene().astype(np.uint16) * 16).save(tmp_path / "y.png")
    assert np.array_equal(decode(tmp_path / "x.png", window=(0, 1000)), scene())
    assert (decode(tmp_path / "y.png", window=(0, 1000)) == 255).mean() > 0.5
