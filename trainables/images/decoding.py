"""Decode a data set into one uint8 array on disk, with the sums for mean and standard deviation.

sums = decode_all(spec, data, n, file)                   # [n, side, side, channels] in file
keep(file, [0, 1, 3])                                    # without row 2, if data.damaged has it
mean, std = statistics(sums[train], spec.size ** 2)
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data import Dataset
from trainables.errors import NotInstalled, UserError
from trainables.images.fit import square, trimmed
from trainables.images.forms import Form, of_pixels
from trainables.processor import cores, free_memory
from trainables.spec import DataSpec

MEMORY_DIVISOR = 4  # images that are being decoded may use 1 / MEMORY_DIVISOR of the free memory
BLOCK = 4096  # images handed to the threads at once: all of a million would take 2 GB
OnDecoded = Callable[[int, int], None]  # images done, images in total


class Room:
    """A budget of bytes; a request above the budget waits for all of it and runs alone."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._given_back = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Reserve `wanted` bytes for the block; waits until they are free."""
        granted = min(wanted, self.size)
        with self._given_back:
            self._given_back.wait_for(lambda: self._free >= granted)
            self._free -= granted
        try:
            yield
        finally:
            with self._given_back:
                self._free += granted
                self._given_back.notify_all()


def decode_all(
    spec: DataSpec, data: Dataset, n: int, file: Path, progress: OnDecoded | None
) -> NDArray[np.int64]:
    """Write all n images to `file`; return int64 [n, 2, channels]: sums and sums of squares.

    Images that can't be read stay black; their errors are in `data.damaged`. Uses one thread per
    core while the images in work fit into a quarter of the free memory. OSError if the disk is
    full.
    """
    images = created(file, (n, spec.size, spec.size, spec.channels))
    sums = np.zeros((n, 2, spec.channels), np.int64)

    data.forms.clear()
    room = Room(free_memory() // MEMORY_DIVISOR)

    def decode(i: int) -> Form | None:
        form = None
        try:
            with room.taken(data.memory(i, spec.size)):
                images[i], form = _read(spec, data, i)
        except NotInstalled:
            raise
        except UserError as error:
            data.damaged[i] = error
        flat = images[i].reshape(-1, spec.channels).astype(np.int64)
        sums[i] = flat.sum(0), (flat**2).sum(0)
        return form

    with ThreadPoolExecutor(cores()) as pool:
        try:
            blocks = (range(k, min(k + BLOCK, n)) for k in range(0, n, BLOCK))
            forms = chain.from_iterable(pool.map(decode, block) for block in blocks)
            for done, form in enumerate(forms, start=1):
                data.forms.update([form] if form else [])
                if progress:
                    progress(done, n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    images.flush()
    return sums


def created(file: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    """Return a new memory map of zeros; OSError if the disk has no room for all of it."""
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a full disk under a memory map kills without a word
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)
    return images


def _read(spec: DataSpec, data: Dataset, i: int) -> tuple[NDArray[np.uint8], Form]:
    """Read row i, cut its border if the data set says so, and fit it into the square.

    Returns the square, and the size and mode that the image has on disk.
    """
    pixels, cut = data.read(i, spec.size), False
    form = data.form(i) or of_pixels(pixels)
    if spec.trim:
        pixels, cut = trimmed(pixels)
    if cut:
        data.trimmed.add(i)
    return square(pixels, spec.size, spec.channels, spec.fit), form


def keep(file: Path, rows: Sequence[int]) -> None:
    """Cut the file down to some of its rows, which rise; in place, as it may fill half the disk."""
    images = np.load(file, mmap_mode="r+")
    for at, row in enumerate(rows):
        if at != row:
            images[at] = images[row]
    images.flush()
    kept = images[: len(rows)]
    with file.open("r+b") as opened:
        header = np.lib.format.header_data_from_array_1_0(kept)
        np.lib.format.write_array_header_1_0(opened, header)
        assert opened.tell() == images.offset, "numpy leaves room for any number of rows"
        opened.truncate(images.offset + kept.nbytes)


def statistics(sums: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel, 0..1, from exact sums."""
    total, squares = sums.sum(0) / (len(sums) * pixels)
    std = np.sqrt(np.maximum(squares - total**2, 1.0))  # blank images: 1/255, never 0
    return tuple((total / 255).tolist()), tuple((std / 255).tolist())
