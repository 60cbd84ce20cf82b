"""Files of a data set: find images, read a CSV, decode one image. Errors name the file.

for path in find_images(folder): decode(path)
"""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.errors import UserError
from trainables.plugins import near

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def find_images(folder: Path) -> Iterator[Path]:
    """Image files under the folder, at any depth, without hidden ones and zip residue of a Mac."""
    for where, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for file in sorted(files):
            if not file.startswith(".") and os.path.splitext(file)[1].lower() in SUFFIXES:
                yield Path(where, file)


def subfolders(folder: Path) -> list[Path]:
    """Sorted; UserError if the folder can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: must be readable ({error.strerror}); try another folder, or its rights"
    ) from None


def existing(root: Path | None, holds: str) -> Path:
    """The data set's folder; UserError if there is none."""
    if root is None or not root.is_dir():
        raise UserError(
            f"--data={root or ''}: must be the folder that holds {holds}; try --data PATH"
        )
    return root


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows by column name; at least `columns` must be there."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [cell.strip() for cell in next(reader, [])]
            rows = [row for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{path}: must be a CSV file in UTF-8 with the columns {', '.join(columns)} "
            f"({reason}); try saving it as one"
        ) from None
    for column in columns:
        if column not in header:
            raise UserError(
                f"{path}: must have the column {column} in its header ({', '.join(header)}); "
                f"try {near(column, header) or 'adding it'}"
            )
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(
                f"{path}, row {line}: must have {len(header)} cells as the header has, not "
                f"{len(row)}; try mending the row"
            )
    return [dict(zip(header, map(str.strip, row), strict=True)) for row in rows]


def some(names: Sequence[str]) -> str:
    """`a, b, c, ...`: the first three."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def decode(path: Path, side: int = 0) -> NDArray[np.uint8]:
    """[h, w, 3], or [h, w] of a grey image; a JPEG may come reduced to 2 * `side` or more.

    Transparency is over black; grey of more than 8 bits is stretched from its least to its
    greatest value.
    """
    try:
        with Image.open(path) as image:
            if side:
                image.draft(None, (2 * side, 2 * side))
            upright = ImageOps.exif_transpose(image)
            return _pixels(upright)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: must be a readable image ({reason}); try replacing it or taking it out"
        ) from error


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode[0] in "IF":
        return _stretched(np.asarray(image, np.float64))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(black, image).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    scale = 255 / (high - low) if high > low else 0.0
    return np.round((values - low) * scale).astype(np.uint8)
