"""The image files below a folder, with what lies beside them.

found = walk(folder)
found.images        # ("a/x.jpg", ...): sorted paths under the folder
found.others        # {".txt": 12}: files that no reader takes

Hidden files and macOS zip residue are skipped. A link to a folder above itself ends there.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trainables.data._files import SUFFIXES
from trainables.errors import UserError
from trainables.images import dicom
from trainables.images.files import regular

VOLUMES = (".nii", ".nii.gz")
SKIPPED = (".", "__MACOSX")
MASKS = re.compile(r"(.*[\W_])?(masks|segmentations?)|mask", re.IGNORECASE)  # folders
MASK = re.compile(r"(.+?)[ _-](mask|segmentation|seg)([ _-]?\d+)?", re.IGNORECASE)  # stems
Id = tuple[int, int]  # of a folder: device, inode


@dataclass(frozen=True)
class Found:
    """What a folder holds; paths are relative to it and sorted."""

    folder: Path
    images: tuple[str, ...]
    masks: tuple[str, ...]  # of a folder `masks`, or `x_mask.png` beside `x.png`
    others: Mapping[str, int]  # ending -> files
    loops: tuple[str, ...]  # links to a folder above them

    @property
    def beside(self) -> str:
        """The numbers of other files: `12 .dcm, 1 .txt`."""
        return ", ".join(f"{count} {ending}" for ending, count in self.others.items()) or "none"


def walk(folder: Path) -> Found:
    """List the files at any depth; UserError for a pipe, a broken link or an unreadable folder."""
    images, others, loops, volume = list[str](), Counter[str](), list[str](), ""
    for path, kind in _visit(str(folder), "", frozenset()):
        if kind == "loop":
            loops.append(path)
        elif (ending := os.path.splitext(path)[1].lower()) in SUFFIXES or (
            kind == "file" and _is_dicom(folder / path, ending)
        ):
            if kind != "file":
                regular(folder / path)
            images.append(path)
        elif kind == "file":
            others[ending or "no ending"] += 1
            volume = path if path.lower().endswith(VOLUMES) else volume
    if volume and not images:
        raise UserError(
            f"{folder / volume}: must be an image, as NIfTI volumes are out of scope; try saving "
            "their slices as PNG or DICOM files"
        )
    images.sort()
    masks = _masks(images)
    kept = tuple(path for path in images if path not in masks) if masks else tuple(images)
    return Found(folder, kept, tuple(sorted(masks)), dict(sorted(others.items())), tuple(loops))


def _is_dicom(path: Path, ending: str) -> bool:
    """Tell by content where the name has no ending, or a part of a UID for one."""
    return (not ending or ending[1:].isdigit()) and dicom.has_magic(path)


def _visit(folder: str, below: str, above: frozenset[Id]) -> Iterator[tuple[str, str]]:
    """Yield the path under the top folder and the kind of everything in `folder`."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(SKIPPED)]
    except OSError as error:
        unreadable(error)
    above |= {(status.st_dev, status.st_ino)}
    for entry in entries:
        path = below + entry.name
        if not entry.is_dir():
            yield path, "file" if entry.is_file() else "special"
        elif entry.is_symlink() and _id(entry.path) in above:
            yield path, "loop"
        else:
            if os.path.splitext(path)[1].lower() in SUFFIXES:
                yield path, "folder"
            yield from _visit(entry.path, f"{path}/", above)


def _id(path: str) -> Id:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _masks(images: list[str]) -> set[str]:
    """Return the masks among image files: never all of them."""
    by_folder = defaultdict[str, list[str]](list)
    for path in images:
        by_folder[path.rpartition("/")[0]].append(path)
    masks = set[str]()
    for folder, paths in by_folder.items():
        if any(MASKS.fullmatch(part) for part in folder.split("/")):
            masks.update(paths)
            continue
        marked = [(path, MASK.fullmatch(_stem(path))) for path in paths if _ends_as_mask(path)]
        stems = {_stem(path) for path in paths} if marked else set()
        masks.update(path for path, found in marked if found and found[1] in stems)
    return masks if len(masks) < len(images) else set()


def _ends_as_mask(path: str) -> bool:
    return "seg" in path or "mask" in path.lower()


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0]


def subfolders(folder: Path) -> list[Path]:
    """List the folder's sub-folders, sorted; UserError if it can't be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        unreadable(error)


def unreadable(error: OSError) -> NoReturn:
    raise UserError(
        f"{error.filename}: must be readable ({error.strerror}); try another folder, or its rights"
    ) from None
