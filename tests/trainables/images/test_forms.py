"""Sizes and modes of files, as they are on disk."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.images.cache import Source, open_cache
from trainables.images.forms import Form, Forms, of_file, of_pixels, summarise
from trainables.spec import DataSpec


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [("x.jpg", "RGB", "JPEG RGB"), ("x.jpg", "CMYK", "JPEG CMYK"), ("x.png", "LA", "PNG LA"),
     ("x.png", "P", "PNG P"), ("x.png", "1", "PNG 1"), ("x.tif", "F", "TIFF F")],
)  # fmt: skip
def test_of_a_file(tmp_path: Path, name: str, mode: str, said: str) -> None:
    Image.new(mode, (60, 40)).save(tmp_path / name)
    assert of_file(tmp_path / name) == Form(60, 40, said)


def test_a_jpeg_is_as_large_as_on_disk(tmp_path: Path, spec: Callable[..., DataSpec]) -> None:
    """Though it is decoded at a fraction of its size."""
    for i in range(10):
        folder = tmp_path / "x" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (600, 400, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    found = Source(spec("folder"), tmp_path / "x")
    data = open_cache(found.prepare(tmp_path / "cache"))
    assert data.forms == Forms({"JPEG RGB": 10}, 1, (400, 600), (400, 600), (400, 600), 10)
    again = open_cache(Source(spec("folder"), tmp_path / "x").prepare(tmp_path / "cache"))
    assert again.forms == data.forms


def test_images_without_files(tmp_path: Path, spec: Callable[..., DataSpec]) -> None:
    source = Source(spec(params={"n": 160, "size": 32}), None)
    data = open_cache(source.prepare(tmp_path))
    assert data.forms == Forms({"RGB": 160}, 1, (32, 32), (32, 32), (32, 32), 160)
    assert of_pixels(np.zeros((3, 4), np.uint8)) == Form(4, 3, "grey")


def test_a_summary_goes_by_area_and_number() -> None:
    many = Counter({Form(9, 1, "a"): 1, Form(2, 2, "b"): 5, Form(5, 5, "a"): 2, Form(2, 2, "a"): 1})
    assert summarise(many) == Forms({"b": 5, "a": 4}, 3, (2, 2), (5, 5), (2, 2), 6)
    assert list(summarise(many).modes) == ["b", "a"]


def test_caches_without_are_read() -> None:
    assert Forms.read(None) is None
