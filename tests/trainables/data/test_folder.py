"""Class folders: endings, nesting, groups from a CSV, and decoding of every kind of file."""

import numpy as np
import pytest
from PIL import Image

from trainables.data._files import decode
from trainables.data.folder import Plugin
from trainables.errors import UserError


def error(root, **params):
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_table(folders):
    (folders / "a" / "._a0.png").write_bytes(b"residue of a Mac")
    (folders / "a" / "notes.txt").write_text("not an image")
    data = Plugin(folders, {})
    table = data.table()
    assert table.classes == ("a", "b")
    assert table.labels.tolist() == [0] * 5 + [1] * 5
    assert table.names[3:6] == ("a/deep/a0.PNG", "a/deep/a1.PNG", "b/b0.jpeg")
    assert table.groups == table.names
    assert data.read(0).shape == (40, 50, 3)
    assert data.read(9).shape == (40, 50)


def test_groups_from_csv(folders):
    rows = ["file,patient", "a0,p1", "a/deep/a1.PNG,p1", "a2.PNG,", "a3,p2", "a4,p3"]
    (folders / "who.csv").write_text("\n".join(rows + [f"b{i},q{i % 2}" for i in range(5)]))
    params = {"groups_csv": "who.csv", "image_column": "file", "group_column": "patient"}
    groups = Plugin(folders, params).table().groups
    assert groups == ("a/a2.PNG", "p2", "p3", "p1", "p1", "q0", "q1", "q0", "q1", "q0")


def test_bad_groups_csv(folders):
    assert "No such file" in error(folders, groups_csv="who.csv")
    (folders / "who.csv").write_text("image,group\na0,p1\n")
    assert "none for 9 (a/a2.PNG, a/a3.PNG, a/a4.PNG, ...)" in error(folders, groups_csv="who.csv")
    message = error(folders, groups_csv="who.csv", group_column="patient")
    assert "no column 'patient' in who.csv (columns: image, group)" in message
    assert "set data.params.group_column=group" in message


def test_bad_folders(folders, tmp_path):
    assert "must be the folder that holds" in error(None)
    assert "must be the folder that holds" in error(tmp_path / "elsewhere")
    assert "must have at least 2 sub-folders of images" in (message := error(folders / "b"))
    assert "one a class, not 0 (none; images in all: 5; other files: none)" in message
    assert "one a class, not 1 (deep; " in error(folders / "a")


def test_unknown_parameter(folders):
    with pytest.raises(UserError, match="try groups_csv"):
        Plugin(folders, {"group_csv": "x"})


@pytest.mark.parametrize(
    ("mode", "ending", "shape"),
    [
        ("RGBA", "png", (8, 6, 3)),
        ("P", "png", (8, 6, 3)),
        ("CMYK", "jpg", (8, 6, 3)),
        ("1", "bmp", (8, 6)),
        ("LA", "png", (8, 6, 3)),
        ("RGB", "webp", (8, 6, 3)),
    ],
)
def test_decode_modes(tmp_path, mode, ending, shape):
    path = tmp_path / f"x.{ending}"
    Image.new("RGB", (6, 8), (200, 100, 50)).convert(mode).save(path)
    pixels = decode(path)
    assert pixels.shape == shape
    assert pixels.dtype == np.uint8


def test_decode_16_bit(tmp_path):
    values = np.linspace(100, 4000, 48).reshape(6, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    pixels = decode(tmp_path / "x.png")  # of 12 bits: 255 * 100 / 4095
    assert (pixels.min(), pixels.max(), pixels.shape) == (6, 249, (6, 8))


def test_decode_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (6, 8)).save(tmp_path / "x.jpg", exif=exif)
    assert decode(tmp_path / "x.jpg").shape == (6, 8, 3)


def test_decode_reduced(tmp_path):
    Image.new("RGB", (800, 600)).save(tmp_path / "x.jpg")
    assert decode(tmp_path / "x.jpg", 96).shape == (300, 400, 3)
