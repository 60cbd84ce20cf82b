"""The image files below a folder, with what lies beside them.

found = walk(folder)
found.images        # ("a/x.jpg", ...): sorted paths under the folder
found.others        # {".txt": 12}: files that no reader takes

Hidden files and macOS zip residue are skipped. A link to a folder above itself ends there.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from trainables.data._files import SUFFIXES, some
from trainables.errors import UserError
from trainables.images import dicom
from trainables.images.files import regular

VOLUMES = (".nii", ".nii.gz")
SKIPPED = (".", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
MASKS = re.compile(r"(.*[\W_])?(masks|segmentations?)|mask", re.IGNORECASE)  # folders
IMAGES = frozenset({"images", "image", "imgs", "img"})  # a folder beside those of masks
DRAWN = r"mask|segmentation|seg|gt|ground[ _-]?truth|annotation|label|contour"
BESIDE = re.compile(rf"(.*[\W_])?({DRAWN})s?", re.IGNORECASE)  # folders beside images/
MASK = re.compile(rf"(.+?)[ _-]({DRAWN})([ _-]?\d+)?", re.IGNORECASE)  # stems
Id = tuple[int, int]  # of a folder: device, inode


@dataclass(frozen=True)
class Found:
    """What a folder holds; paths are relative to it and sorted."""

    folder: Path
    images: tuple[str, ...]
    masks: tuple[str, ...]  # of a folder `masks`, or `x_mask.png` beside `x.png`
    others: Mapping[str, int]  # ending -> files
    loops: tuple[str, ...]  # links to a folder above them
    broken: tuple[str, ...] = ()  # links of images to files that are not there

    @property
    def beside(self) -> str:
        """The numbers of other files: `12 .dcm, 1 .txt`."""
        return ", ".join(f"{count} {ending}" for ending, count in self.others.items()) or "none"


def walk(folder: Path) -> Found:
    """List the files at any depth; UserError for a pipe or an unreadable folder."""
    images, others, volume = list[str](), Counter[str](), ""
    loops, broken = list[str](), list[str]()
    for path, kind in _visit(str(folder), "", frozenset()):
        if kind == "loop":
            loops.append(path)
        elif (ending := os.path.splitext(path)[1].lower()) in SUFFIXES or (
            kind == "file" and _is_dicom(folder / path, ending)
        ):
            if kind == "broken":
                broken.append(path)
                continue
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
    _check_links(folder, sorted(broken), len(images))
    masks = _masks(images)
    kept = tuple(path for path in images if path not in masks) if masks else tuple(images)
    beside = dict(sorted(others.items()))
    return Found(folder, kept, tuple(sorted(masks)), beside, tuple(loops), tuple(sorted(broken)))


def _check_links(folder: Path, broken: list[str], images: int) -> None:
    if len(broken) > images:
        raise UserError(
            f"{folder}: must hold images, and {len(broken)} are links to files that are not there "
            f"({some(broken)}); try fetching them (`datalad get`, `dvc pull`) or mending the links"
        )


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
            yield path, "file" if entry.is_file() else _special(entry)
        elif entry.is_symlink() and _id(entry.path) in above:
            yield path, "loop"
        else:
            if os.path.splitext(path)[1].lower() in SUFFIXES:
                yield path, "folder"
            yield from _visit(entry.path, f"{path}/", above)


def _special(entry: os.DirEntry[str]) -> str:
    return "broken" if entry.is_symlink() and not os.path.exists(entry.path) else "special"


def _id(path: str) -> Id:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _masks(images: list[str]) -> set[str]:
    """Return the masks among image files: never all of them."""
    by_folder = defaultdict[str, list[str]](list)
    for path in images:
        by_folder[path.rpartition("/")[0]].append(path)
    with_images = _around_images(by_folder)
    masks = set[str]()
    for folder, paths in by_folder.items():
        if _holds_masks(folder, with_images):
            masks.update(paths)
            continue
        found = {path: MASK.fullmatch(_stem(path)) for path in paths}
        stems = {_stem(path) for path in paths} if any(found.values()) else set()
        masks.update(path for path, mask in found.items() if mask and mask[1] in stems)
    return masks if len(masks) < len(images) else set()


def _around_images(folders: Iterable[str]) -> set[str]:
    """Return the folders that hold a folder `images`."""
    found = set[str]()
    for folder in folders:
        parts = folder.split("/")
        found |= {"/".join(parts[:at]) for at, one in enumerate(parts) if one.casefold() in IMAGES}
    return found


def _holds_masks(folder: str, with_images: Collection[str]) -> bool:
    """Tell by a folder's path whether it holds masks; some names mean it beside images/ only."""
    parts = folder.split("/")
    return any(
        MASKS.fullmatch(one) or (BESIDE.fullmatch(one) and "/".join(parts[:at]) in with_images)
        for at, one in enumerate(parts)
    )


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
