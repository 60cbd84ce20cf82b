"""Sizes and modes of image files, as they are on disk.

form = of_file(path)                 # Form(600, 450, "JPEG RGB"), from the header
summarise(Counter([form, ...]))      # Forms, to show
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.images import dicom, picture


class Form(NamedTuple):
    """Width and height in pixels, and format and mode in one word or two."""

    width: int
    height: int
    mode: str


@dataclass(frozen=True)
class Forms:
    """All images of a data set by mode, and their sizes by area."""

    modes: Mapping[str, int]  # the most frequent first
    sizes: int  # different ones
    smallest: tuple[int, int]
    largest: tuple[int, int]
    commonest: tuple[int, int]
    commonest_images: int

    @classmethod
    def read(cls, plain: Mapping[str, object] | None) -> "Forms | None":
        """Return what JSON holds; None if nothing was recorded."""
        pairs = (plain or {}).items()
        values = {key: tuple(one) if isinstance(one, list) else one for key, one in pairs}
        return cls(**values) if values else None  # type: ignore[arg-type]


def of_file(path: Path) -> Form:
    """Read a file's header, which `picture.decode` has found sound."""
    with path.open("rb") as file:
        head = file.read(picture.HEAD)
    if dicom.is_dicom(head, path):
        return Form(*dicom.form(path))
    with Image.open(path, formats=picture.FORMATS) as image:
        return Form(*image.size, f"{image.format} {image.mode}")


def of_pixels(pixels: NDArray[np.uint8]) -> Form:
    """Return the form of an image that has no file of its own."""
    height, width = pixels.shape[:2]
    return Form(width, height, "grey" if pixels.ndim == 2 else "RGB")


def summarise(counts: Mapping[Form, int]) -> Forms:
    modes, sizes = dict[str, int](), dict[tuple[int, int], int]()
    for (width, height, mode), count in counts.items():
        modes[mode] = modes.get(mode, 0) + count
        sizes[width, height] = sizes.get((width, height), 0) + count
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    commonest = max(by_area, key=sizes.__getitem__)
    ranked = dict(sorted(modes.items(), key=lambda one: (-one[1], one[0])))
    return Forms(ranked, len(sizes), by_area[0], by_area[-1], commonest, sizes[commonest])
