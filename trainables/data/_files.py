"""Files of a data set: find images, read a CSV file, decode one image. Errors name the file.

for path in find_images(folder): decode(path)
"""

import csv
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UserError
from trainables.images import dicom, picture
from trainables.images.files import regular
from trainables.images.levels import Window
from trainables.plugins import near

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", *dicom.ENDINGS},
)
VOLUMES = (".nii", ".nii.gz")  # out of scope


def find_images(folder: Path) -> Iterator[Path]:
    """Yield image files at any depth, sorted, without hidden files and macOS zip residue.

    UserError for anything else with an image suffix: a folder, a pipe, a broken link; and if there
    are volumes and no image.
    """
    found, volume = False, ""
    for where, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for name in sorted((*folders, *files)):
            if name.startswith("."):
                continue
            if is_image(where, name):
                found = True
                regular(Path(where, name))
                yield Path(where, name)
            elif name.lower().endswith(VOLUMES):
                volume = volume or os.path.join(where, name)
    if volume and not found:
        raise UserError(
            f"{volume}: must be an image, as NIfTI volumes are out of scope; try saving their "
            "slices as PNG or DICOM files"
        )


def is_image(where: str, name: str) -> bool:
    """Tell by the suffix; DICOM files often have none, or the end of a UID."""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES:
        return True
    path = Path(where, name)
    return (not suffix or suffix[1:].isdigit()) and path.is_file() and dicom.has_magic(path)


def subfolders(folder: Path) -> list[Path]:
    """List the folder's sub-folders, sorted; UserError if it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: must be readable ({error.strerror}); try another folder, or its rights"
    ) from None


def existing(root: Path | None, holds: str) -> Path:
    """Return the data set's folder; UserError if there is none."""
    if root is None or not root.is_dir():
        raise UserError(
            f"--data={root or ''}: must be the folder that holds {holds}; try --data PATH"
        )
    return root


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read rows by column name; UserError if a column of `columns` is missing."""
    if path.exists():
        regular(path)
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


def check_distinct(csv: Path, rows: Sequence[Mapping[str, str]], column: str) -> None:
    """Raise UserError if two rows have the same value in the column of images."""
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        if row[column] in seen:
            raise UserError(
                f"{csv}, row {line}: must be of another image than a row above ({row[column]}); "
                "try keeping one row of it"
            )
        seen.add(row[column])


def match_files(
    folder: Path, csv: Path, images: Sequence[str], names: Callable[[Path], set[str]]
) -> dict[str, Path]:
    """Find the file of every image; UserError unless rows and files match one to one.

    names: returns what a row may call the file at a path relative to `folder`.
    """
    known: dict[str, list[Path]] = defaultdict(list)
    files = [file.relative_to(folder) for file in find_images(folder)]
    for file in files:
        for name in names(file):
            known[name].append(file)
    if absent := [image for image in images if image not in known]:
        raise UserError(
            f"{folder}: must hold the {len(images)} images of {csv.name} "
            f"({', '.join(sorted(SUFFIXES))}), and {len(absent)} are not there ({some(absent)}); "
            "try adding them, or taking the rows out"
        )
    for image in images:
        if len(known[image]) > 1:
            raise UserError(
                f"{csv}: must say which file {image} is ({some(list(map(str, known[image])))}); "
                "try the path with its ending, or keeping one of them"
            )
    found = {image: known[image][0] for image in images}
    if extra := sorted(map(str, set(files) - set(found.values()))):
        raise UserError(
            f"{csv}: must have a row for every file of {folder.name}, and has none for "
            f"{len(extra)} ({some(extra)}); try adding them, or moving the files out"
        )
    return {image: folder / file for image, file in found.items()}


def some(names: Sequence[str]) -> str:
    """List the first three names: `a, b, c, ...`."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def decode(path: Path, side: int = 0, window: Window | None = None) -> NDArray[np.uint8]:
    """Decode one image; see `picture.decode`."""
    return decode_checked(path, side, window)[0]


def decode_checked(
    path: Path, side: int = 0, window: Window | None = None
) -> tuple[NDArray[np.uint8], bool]:
    """Decode one image; also return False if some of its values are NaN or infinite."""
    regular(path)
    return picture.decode(path, side, window)


def memory(path: Path, side: int = 0) -> int:
    """Bound the bytes that `decode` and a resize of its result need, from the file's header."""
    regular(path)
    return picture.memory(path, side)
