"""One image file: JPEGs that lack rows, DICOM by content, and what decides the pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data._files import decode
from trainables.errors import UserError
from trainables.images import picture
from trainables.images.picture import reading

END = b"\xff\xd9"


def jpeg(mode: str = "RGB", side: int = 96, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side + 40, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8, 0.98])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}])
@pytest.mark.parametrize("side", [0, 16])
def test_a_jpeg_cut_and_closed_is_damaged(
    tmp_path: Path, mode: str, fraction: float, options: dict[str, object], side: int
) -> None:
    whole, path = jpeg(mode, **options), tmp_path / "x.jpg"
    path.write_bytes(whole)
    decode(path, side)
    path.write_bytes(whole[: int(len(whole) * fraction)] + END)
    Image.open(path).load()  # Pillow takes it without a word
    with pytest.raises(UserError, match=r"x.jpg: must be a readable image \(its end is missing\)"):
        decode(path, side)


@pytest.mark.parametrize("tail", [b"", b"\0" * 999, END + b"more" + END])
def test_a_whole_jpeg_that_ends_in_mid_grey_is_sound(tmp_path: Path, tail: bytes) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    pixels[40:] = 128
    for mode in ("L", "RGB"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "x.jpg", quality=95)
        path = tmp_path / "x.jpg"
        path.write_bytes(path.read_bytes() + tail)
        assert abs(int(decode(path)[-1, -1].mean()) - 128) <= 1


def test_only_a_mid_grey_end_is_decoded_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.full((32, 32), 77, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.jpg")
    monkeypatch.setattr(picture, "BytesIO", None)
    assert decode(tmp_path / "x.jpg").shape == (32, 32)


def test_what_decides_grey_levels_is_named(tmp_path: Path) -> None:
    """Only these files' digests differ from their bytes' own."""
    deep = np.zeros((8, 8), np.uint16)
    for name, image in {
        "x.jpg": Image.fromarray(deep.astype(np.uint8)),
        "x.png": Image.fromarray(deep.astype(np.uint8)),
        "deep.png": Image.fromarray(deep),
        "float.tif": Image.fromarray(deep.astype(np.float32)),
        "colour.png": Image.new("RGB", (8, 8)),
    }.items():
        image.save(tmp_path / name)
    (tmp_path / "x.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "text.png").write_text("no image")
    found = {path.name: reading(path) for path in tmp_path.iterdir()}
    plain = dict.fromkeys(("x.jpg", "x.png", "colour.png", "text.png"), "")
    marked = {"deep.png": " levels 1", "float.tif": " levels 1", "x.dcm": " dicom 1"}
    assert found == plain | marked


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x.png: must be readable"):
        decode(tmp_path / "x.png")
    assert reading(tmp_path / "x.png") == ""
