"""Pixels of a data set to one uint8 array on disk, with the sums that mean and deviation need.

sums = decode_all(spec, data, n, file)                   # [n, side, side, channels] in file
mean, std = statistics(sums[train], spec.size ** 2)
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data import Dataset
from trainables.images.room import Room
from trainables.processor import cores, free_memory
from trainables.spec import DataSpec

SHARE = 4  # of the free memory, one part is for pictures that are being decoded
Progress = Callable[[int, int], None]  # images done, of how many


def square(pixels: NDArray[np.uint8], side: int, channels: int) -> NDArray[np.uint8]:
    """The centre square of [h, w] or [h, w, 3], resized to [side, side, channels], antialiased."""
    image = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    if box != (0, 0, side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(image).reshape(side, side, channels)


def decode_all(
    spec: DataSpec, data: Dataset, n: int, file: Path, progress: Progress | None
) -> NDArray[np.int64]:
    """Write the images; returns [n, 2, channels]: sum and sum of squares of every image.

    A thread a core, as long as the pictures in work fit into a quarter of the free memory.
    """
    shape = (n, spec.size, spec.size, spec.channels)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(file)
    sums = np.zeros((n, 2, spec.channels), np.int64)

    room = Room(free_memory() // SHARE)

    def decode(i: int) -> None:
        with room.taken(data.memory(i, spec.size)):
            images[i] = square(data.read(i, spec.size), spec.size, spec.channels)
        flat = images[i].reshape(-1, spec.channels).astype(np.int64)
        sums[i] = flat.sum(0), (flat**2).sum(0)

    with ThreadPoolExecutor(cores()) as pool:
        try:
            for done, _ in enumerate(pool.map(decode, range(n)), start=1):
                if progress:
                    progress(done, n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    images.flush()
    return sums


def _reserve(file: Path) -> None:
    """Take the disk space now: a full disk under a memory map kills the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def statistics(sums: NDArray[np.int64], pixels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, 0..1, from exact sums."""
    total, squares = sums.sum(0) / (len(sums) * pixels)
    std = np.sqrt(np.maximum(squares - total**2, 1.0))  # a blank set divides by 1/255, not by 0
    return tuple((total / 255).tolist()), tuple((std / 255).tolist())
