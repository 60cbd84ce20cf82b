"""Which file does a cell of a CSV file mean?

index = Files(walk(folder))
index.find(r"C:\\data\\train\\A.JPG").files     # positions in index.paths

A cell may be a path (relative, absolute, of Windows) or a file name, with or without its ending,
in any case and any Unicode form. The longest common end of both paths decides. A number may have
lost its zeros in a spreadsheet, or have got a `.0`: 7 is 00007.png if nothing else is.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from trainables.data._files import SUFFIXES
from trainables.data._walk import Found

NUMBER = re.compile(r"0*(\d+)(\.0)?")
SMALLER = "_downsampled"  # suffix of 2,074 names of ISIC, missing in some copies


def plain(cell: str) -> str:
    """Return a path with slashes, in Unicode's composed form."""
    if not cell.isascii():
        cell = unicodedata.normalize("NFC", cell)
    return cell.replace("\\", "/").removeprefix("./") if "\\" in cell or "./" in cell else cell


def key(path: str) -> str:
    """Return what two spellings of one name have in common: no ending, no case."""
    stem, ending = os.path.splitext(path)
    path = stem if ending.lower() in SUFFIXES else path
    return path.casefold().removesuffix(SMALLER)


@dataclass(frozen=True)
class Match:
    """The files that a cell may mean, and how many of its path's parts they share at the end."""

    files: Sequence[int] = ()
    parts: int = 0
    whole: bool = True  # whether these are all parts of the cell's path


class Files:
    """The image files of a folder, to be found by what a row calls them."""

    def __init__(self, found: Found) -> None:
        self.found, self.folder, self.paths = found, found.folder, found.images
        self._plain = [plain(path) for path in self.paths]
        self._depth = 1 + max((path.count("/") for path in self._plain), default=0)
        self._level = cache(self._index)
        self._among = cache(self._nearest)  # many rows may mean the same many files

    def path(self, at: int) -> Path:
        return self.folder / self.paths[at]

    def name(self, at: int) -> str:
        """Return the path under the folder in Unicode's composed form."""
        return self._plain[at]

    def find(self, cell: str) -> Match:
        """Return the file that a cell means; several if it doesn't tell them apart."""
        wanted = plain(cell)
        parts = wanted.split("/")
        for depth in range(min(len(parts), self._depth), 0, -1):
            end, known = "/".join(parts[-depth:]), self._level(depth)
            if found := known.get(key(end)) or known.get(_fold(end)):
                files = self._among(wanted, depth) if len(found) > 1 else found
                return Match(files, depth, depth == len(parts))
        if number := NUMBER.fullmatch(wanted):
            return Match(self._numbers.get(number[1], ()), 1)
        return Match()

    @cached_property
    def _numbers(self) -> Mapping[str, list[int]]:
        """Index the files whose names are numbers, without the zeros before them."""
        known = defaultdict[str, list[int]](list)
        for name, files in self._level(1).items():
            if number := NUMBER.fullmatch(name):
                known[number[1]] += files
        return dict(known)

    def _nearest(self, wanted: str, depth: int) -> Sequence[int]:
        """Narrow files of one name down by path, name, ending and case; equal bytes are one."""
        end, known = "/".join(wanted.split("/")[-depth:]), self._level(depth)
        found = known.get(key(end)) or known[_fold(end)]
        for same in (_same_path, _same_name, _same_ending, _same_stem):
            if nearer := [at for at in found if same(self._plain[at], wanted)]:
                found = nearer
                break
        return found[:1] if self._alike(found) else found

    def _alike(self, found: Sequence[int]) -> bool:
        return same_bytes([self.path(at) for at in found])

    def _index(self, depth: int) -> Mapping[str, list[int]]:
        """Index the files by the last `depth` parts of their paths."""
        known = defaultdict[str, list[int]](list)
        for at, path in enumerate(self._plain):
            known[key("/".join(path.rsplit("/", depth)[-depth:]))].append(at)
        return dict(known)


class Names(Files):
    """Names of images, to be found as files are; no file is read."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(Found(Path(), tuple(names), (), {}, ()))

    def _alike(self, found: Sequence[int]) -> bool:
        return len(found) == 1


def _same_path(path: str, wanted: str) -> bool:
    return "/" in wanted and wanted in (path, os.path.splitext(path)[0])


def _same_name(path: str, wanted: str) -> bool:
    return path.rpartition("/")[2] == wanted.rpartition("/")[2]


def _same_ending(path: str, wanted: str) -> bool:
    ending = os.path.splitext(wanted)[1].lower()
    return _same_stem(path, wanted) and ending in SUFFIXES and path.lower().endswith(ending)


def _same_stem(path: str, wanted: str) -> bool:
    return _stem(path) == _stem(wanted)


def _fold(path: str) -> str:
    """Return the key of a name that has a further ending: `x.jpg` of x.jpg.png."""
    return path.casefold().removesuffix(SMALLER)


def _stem(path: str) -> str:
    """Return the file's name without the ending of an image."""
    name = path.rpartition("/")[2]
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in SUFFIXES else name


def same_bytes(paths: Sequence[Path]) -> bool:
    """Return whether all files hold the same bytes."""
    if len({path.stat().st_size for path in paths}) > 1:
        return False
    first = paths[0].read_bytes()
    return all(path.read_bytes() == first for path in paths[1:])
