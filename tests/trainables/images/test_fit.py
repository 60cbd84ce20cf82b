"""From any shape to a square, and borders that are cut before."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trainables.images.fit import LEAST, square, trimmed

SHARED = Path(__file__).parents[4] / "shared" / "data"


def halves(width: int, height: int) -> np.ndarray:
    """Left half red, right half green."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 1] = 255
    return pixels


@pytest.mark.parametrize("size", [(80, 40), (40, 80)])
def test_crop_keeps_the_middle(size: tuple[int, int]) -> None:
    width, height = size
    pixels = np.zeros((height, width), np.uint8)
    left, top = (width - 40) // 2, (height - 40) // 2
    pixels[top : top + 40, left : left + 40] = 200
    assert (square(pixels, 40, 1, "crop") == 200).all()
    assert square(pixels, 20, 3, "crop").shape == (20, 20, 3)


def test_pad_keeps_all_between_black_bars() -> None:
    found = square(halves(80, 40), 20, 3, "pad")
    assert not found[:5].any()
    assert not found[15:].any()
    assert (found[5:15, :9] == (255, 0, 0)).all()
    assert (found[5:15, 11:] == (0, 255, 0)).all()
    turned = square(np.ascontiguousarray(halves(80, 40).transpose(1, 0, 2)), 20, 3, "pad")
    assert np.array_equal(turned, found.transpose(1, 0, 2))


def test_stretch_keeps_all_and_no_proportions() -> None:
    found = square(halves(80, 40), 20, 3, "stretch")
    assert (found[:, :9] == (255, 0, 0)).all()
    assert (found[:, 11:] == (0, 255, 0)).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_squares_are_the_same_by_any_fit(fit: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    assert np.array_equal(square(pixels, 32, 3, fit), square(pixels, 32, 3))
    assert np.array_equal(square(pixels, 60, 3, fit), pixels)


def test_a_thin_picture_is_padded_to_a_line() -> None:
    assert square(np.full((1, 900), 255, np.uint8), 16, 1, "pad").any(axis=(1, 2)).sum() == 1


def skin(width: int, height: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal((190, 140, 120), 12, (height, width, 3)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("grey", [0, 255])
def test_a_frame_is_cut_to_the_pixel(grey: int) -> None:
    pixels = np.full((120, 160, 3), grey, np.uint8)
    pixels[10:100, 30:150] = skin(120, 90)
    found, cut = trimmed(pixels)
    assert cut
    assert np.array_equal(found, pixels[10:100, 30:150])


@pytest.mark.parametrize("scale", [1, 4])
def test_the_corners_of_a_round_picture_are_cut(scale: int) -> None:
    width, height = 160 * scale, 120 * scale
    circle = Image.new("L", (width, height))
    edge = 60 * scale
    ImageDraw.Draw(circle).ellipse((80 * scale - edge, 0, 80 * scale + edge, height), fill=255)
    pixels = skin(width, height) * (np.asarray(circle)[..., None] > 0)
    found, cut = trimmed(pixels)
    assert cut
    dark = (found.max(2) < 40).mean()
    assert dark < 0.01
    assert found.shape[0] > 0.6 * height
    assert found.shape[1] > 0.6 * 2 * edge


def test_whole_pictures_stay() -> None:
    for pixels in (skin(160, 120), skin(30, 20), skin(160, 120)[..., 0]):
        found, cut = trimmed(pixels)
        assert not cut
        assert found is pixels


def test_dark_pictures_stay() -> None:
    """Black all over, and a small bright spot: at least a third stays."""
    black = np.zeros((120, 160), np.uint8)
    spot = black.copy()
    spot[50:60, 70:80] = 200
    for pixels in (black, spot):
        found, _ = trimmed(pixels)
        assert min(np.divide(found.shape, pixels.shape)) >= LEAST


def test_few_real_lesions_have_a_border() -> None:
    folder = SHARED / "isic-mini" / "ISIC_2019_Training_Input"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is not there")
    files = sorted(folder.glob("*.jpg"))[::40]
    cut = [trimmed(np.asarray(Image.open(path)))[1] for path in files]
    assert 0 < sum(cut) < 0.25 * len(files)
