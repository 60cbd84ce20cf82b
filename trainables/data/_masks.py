"""Masks of images: a folder of pictures, or run-lengths in a CSV file such as CheXmask's.

    regions = found(Path("lung_masks"), names, notes)
    regions.read(7)             # bool [h, w], of the image in row 7
    regions.sources[7]          # what determines it: files or texts

A mask is called as its image, with or without `_mask`, `_segmentation` and the like; several of one
image, as of two lungs, are united. A picture is inside where it is bright; of few levels, as a map
of labels, where it is not 0.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data._files import decode, some
from trainables.data._match import Names
from trainables.data._understood import Notes
from trainables.data._walk import MASK, MASKS, subfolders, walk
from trainables.errors import UserError

BRIGHT = 127
LUNGS = ("Left Lung", "Right Lung")  # CheXmask's columns; its heart is no lung
RUNS = re.compile(r"rle|runs?|encoded.?pixels|masks?", re.IGNORECASE)  # columns of other files
IMAGE = re.compile(r"(image|dicom)?[ _]?(index|id|name|path|file)?", re.IGNORECASE)
MOST = 1 << 30  # pixels of a mask
QUALITY, LEAST = "Dice RCA (Mean)", 0.7  # of CheXmask; its authors advise to use no less
Source = Path | str


@dataclass(frozen=True)
class Regions:
    """Masks by the row of their image."""

    sources: Mapping[int, Sequence[Source]]
    read: Callable[[int], NDArray[np.bool_]]


def beside(root: Path) -> Path | None:
    """Return the one folder of masks in a data set's folder, None if there is none."""
    found = [path for path in subfolders(root) if MASKS.fullmatch(path.name)]
    return found[0] if len(found) == 1 else None


def found(place: Path, names: Sequence[str], notes: Notes) -> Regions:
    """Return the masks of the images of these names."""
    sources = defaultdict[int, list[Source]](list)
    index, strange = Names(names), list[str]()
    for name, source in _pictures(place) if place.is_dir() else _runs(place, notes):
        bare = MASK.fullmatch(name)
        match = index.find(name)
        if not match.files and bare:
            match = index.find(bare[1])
        if len(match.files) == 1:
            sources[match.files[0]].append(source)
        else:
            strange.append(name)
    notes.leave("masks of no image, or of several", strange)
    notes.say(f"{len(sources)} of {len(names)} images have a mask in {place.name}")
    return Regions(sources, lambda row: _united(place, names[row], sources[row]))


def _pictures(folder: Path) -> Iterator[tuple[str, Path]]:
    there = walk(folder)
    for path in sorted((*there.images, *there.masks)):
        yield str(Path(path).with_suffix("")), folder / path


def _runs(path: Path, notes: Notes) -> Iterator[tuple[str, str]]:
    """Yield the image and `height width: start length start length ...` of every row."""
    import pyarrow as pa  # imported here: only a search with such a file waits for it
    from pyarrow import csv

    image, shape, runs = _columns(path)
    wanted = [image, *shape, *runs]
    rated = QUALITY in _header(path)
    poor = list[str]()
    try:
        kinds = dict.fromkeys([image, *runs], pa.string()) | {QUALITY: pa.float64()}
        options = csv.ConvertOptions(
            column_types=kinds, include_columns=[*wanted, *([QUALITY] * rated)]
        )
        reader = csv.open_csv(path, convert_options=options)
        for row in (row for batch in reader for row in batch.to_pylist()):
            if rated and not (row[QUALITY] or 0) >= LEAST:
                poor.append(row[image])
                continue
            for one in runs:
                yield row[image], f"{row[shape[0]]} {row[shape[1]]}: {row[one] or ''}"
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"data.masks={path}: must be a readable CSV file ({' '.join(str(error).split())[:120]})"
            "; try the file again"
        ) from None
    notes.leave(f"masks whose {QUALITY} is below {LEAST}", poor)


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return [cell.strip().strip('"') for cell in file.readline().split(",")]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"data.masks={path}: must be a folder of masks, or a CSV file of run-lengths "
            f"({error}); try another path"
        ) from None


def _columns(path: Path) -> tuple[str, tuple[str, str], Sequence[str]]:
    """Return the columns of the image, of height and width, and of the run-lengths."""
    header = _header(path)
    lower = {name.casefold(): name for name in header}
    runs = [name for name in LUNGS if name in header] or list(filter(RUNS.fullmatch, header))
    image = next((name for name in header if name and IMAGE.fullmatch(name)), None)
    if image is None or not runs or not {"height", "width"} <= lower.keys():
        raise UserError(
            f"data.masks={path}: must have the columns image, Height, Width and run-lengths, as "
            f"{' and '.join(LUNGS)}, and has {some(header)}; try CheXmask's file, or a folder"
        )
    return image, (lower["height"], lower["width"]), runs


def _united(place: Path, name: str, sources: Sequence[Source]) -> NDArray[np.bool_]:
    masks = [
        _picture(one) if isinstance(one, Path) else _decoded(f"data.masks={place}, {name}", one)
        for one in sources
    ]
    if len({mask.shape for mask in masks}) > 1:
        raise UserError(
            f"data.masks={place}: must have masks of one size an image, and {name} has several; "
            "try making them equal"
        )
    united: NDArray[np.bool_] = np.any(masks, axis=0)
    return united


def _picture(path: Path) -> NDArray[np.bool_]:
    pixels = decode(path)
    grey = pixels if pixels.ndim == 2 else pixels.max(2)
    inside: NDArray[np.bool_] = grey > (BRIGHT if grey.max() > BRIGHT else 0)
    return inside


def _decoded(where: str, text: str) -> NDArray[np.bool_]:
    """Decode run-lengths: starts count from 1, row by row."""
    shape, _, runs = text.partition(":")
    try:
        height, width = map(int, shape.split())
        starts, lengths = np.array(runs.split(), np.int64).reshape(-1, 2).T
    except (ValueError, OverflowError) as error:
        raise _unread(where, str(error)) from None
    if min(height, width) < 1 or height * width > MOST:
        raise _unread(where, f"Height {height}, Width {width}")
    outside = (starts < 1) | (lengths < 0) | (starts - 1 > height * width - lengths)
    if outside.any():
        first = int(outside.argmax())
        raise _unread(where, f"a run of {lengths[first]} from {starts[first]}, of {height * width}")
    change = np.zeros(height * width + 1, np.int64)
    np.add.at(change, starts - 1, 1)
    np.add.at(change, starts + lengths - 1, -1)
    return np.cumsum(change[:-1]).reshape(height, width) > 0


def _unread(where: str, found: str) -> UserError:
    return UserError(
        f"{where}: must have run-lengths inside Height x Width ({found}); try the file again, or "
        "leaving this row out"
    )
