"""MedMNIST: one .npz file of 2D images of 28 to 224 px, with its own training, validation and test.

    ROOT/pneumoniamnist_224.npz        --data may be the file itself; parameter `file` names one of
                                       several

Classes are the file's numbers. ChestMNIST, which has 14 labels an image, needs `labels: many`.
The file has no patients, so every image is its own patient group.
Nothing is unpickled, and an array is never unpacked as a whole: PathMNIST at 224 px has 16 GB.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from trainables.data import Dataset, Item, _many
from trainables.data._files import some
from trainables.errors import UserError
from trainables.images.files import regular
from trainables.schema import Place

PARTS = ("train", "val", "test")
BLOCK = 256  # rows unpacked at once
DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, NotImplementedError)


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        file: Place | None = None
        labels: Literal["one", "many"] | None = None

    params: Params

    @property
    def many(self) -> bool:
        return self.params.labels == "many"

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        items = [
            Item(name, label, name, self._file, part=part)
            for part in PARTS
            for i, label in enumerate(self._labels(part))
            for name in (_name(part, i),)
        ]
        return items, tuple(sorted(_many.names(str(item.label) for item in items), key=int))

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:  # noqa: ARG002
        part, _, row = self._scanned[0][i].name.partition("_")
        return self._arrays[part].row(int(row))

    def form(self, i: int) -> None:
        """Return nothing: the file holds all images."""

    def memory(self, i: int, side: int = 0) -> int:  # noqa: ARG002
        part = self._scanned[0][i].name.partition("_")[0]
        return 20 * prod(self._arrays[part].shape[1:3])

    def _labels(self, part: str) -> list[str]:
        """Return the label or labels of every image; UserError if it has too many."""
        images, path = self._arrays[part], self._file
        try:
            with np.load(path, allow_pickle=False) as arrays:
                labels = arrays[f"{part}_labels"].reshape(images.shape[0], -1)
        except DAMAGED as error:
            raise _damaged(path, error) from None
        if self.many and np.isin(labels, (0, 1)).all():
            return [_many.JOIN.join(map(str, np.flatnonzero(row))) for row in labels]
        if labels.shape[1] != 1:
            raise UserError(
                f"{path}: must have one label an image, has {labels.shape[1]} (as ChestMNIST); try "
                "data.params.labels=many"
            )
        return [str(int(label)) for label in labels[:, 0]]

    @cached_property
    def _arrays(self) -> dict[str, "Rows"]:
        try:
            found = {part: Rows(self._file, f"{part}_images.npy") for part in PARTS}
        except DAMAGED as error:
            raise _damaged(self._file, error) from None
        for part, rows in found.items():
            if not rows.flat:
                raise UserError(
                    f"{self._file}: must have 2D images of uint8, has {part}_images "
                    f"{list(rows.shape)} of {rows.dtype}; try a 2D file of MedMNIST"
                )
        return found

    @cached_property
    def _file(self) -> Path:
        """Find the file; UserError if there is none or more than one to choose from."""
        root, name = self.root, self.params.file
        if root is not None and root.is_file():
            return root
        if root is None or not root.is_dir():
            raise UserError(
                f"--data={root or ''}: must be an .npz file of MedMNIST, or the folder that holds "
                "it; try --data PATH"
            )
        files = [root / name] if name else sorted(root.glob("*.npz"))
        if len(files) != 1:
            names = [path.name for path in files]
            raise UserError(
                f"--data={root}: must hold one .npz file of MedMNIST, holds {len(files)} "
                f"({some(names) or 'none'}); try data.params.file={(names or ['NAME.npz'])[0]}"
            )
        regular(files[0])
        return files[0]


class Rows:
    """The rows of one uint8 array of an .npz file, unpacked in blocks; safe to share by threads."""

    def __init__(self, archive: Path, member: str) -> None:
        self._open: Callable[[], ZipFile] = lambda: ZipFile(archive)
        self._member, self._lock = member, threading.Lock()
        with self._open() as opened, opened.open(member) as file:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, fortran, self.dtype = header(file)
            self._start = file.tell()
        self.flat = (
            self.dtype == np.uint8
            and not fortran
            and (len(self.shape) == 3 or (len(self.shape) == 4 and self.shape[3] == 3))
        )
        self._block = lru_cache(4)(self._unpacked)

    def row(self, i: int) -> NDArray[np.uint8]:
        with self._lock:
            found: NDArray[np.uint8] = self._block(i // BLOCK)[i % BLOCK]
        return found

    @cached_property
    def _file(self):  # type: ignore[no-untyped-def]
        return self._open().open(self._member)

    def _unpacked(self, block: int) -> NDArray[np.uint8]:
        size = prod(self.shape[1:])
        rows = min(BLOCK, self.shape[0] - block * BLOCK)
        self._file.seek(self._start + block * BLOCK * size)
        return np.frombuffer(self._file.read(rows * size), np.uint8).reshape(rows, *self.shape[1:])


def _name(part: str, i: int) -> str:
    return f"{part}_{i:06}"


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(
        f"{path}: must be an .npz file of MedMNIST with train, val and test images and labels "
        f"({reason}); try downloading it again"
    )
