"""Read rows of a memory map from the disk: these and no others.

    rows_only(images)            # once: no reading ahead, which fetches megabytes for a row
    announce(images, rows)       # before they are read: fetched together, not page by page

Training reads rows in random order. A system that reads ahead fetches many times what is used, and
evicts other rows for it where the memory is smaller than the map.
"""

import mmap
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

KNOWN = hasattr(mmap, "MADV_RANDOM") and hasattr(mmap, "MADV_WILLNEED")


def _map(images: NDArray[np.uint8]) -> mmap.mmap | None:
    """Return the map of a whole file's array; None for an array in memory or a part of a map."""
    found = images.base if isinstance(images, np.memmap) and KNOWN else None
    return found if isinstance(found, mmap.mmap) else None


def rows_only(images: NDArray[np.uint8]) -> None:
    if (mapped := _map(images)) is not None:
        mapped.madvise(mmap.MADV_RANDOM)


def announce(images: NDArray[np.uint8], rows: Iterable[int]) -> None:
    if (mapped := _map(images)) is None:
        return
    assert isinstance(images, np.memmap)
    size, first = images[0].nbytes, images.offset % mmap.ALLOCATIONGRANULARITY
    for row in rows:
        begin = first + int(row) * size
        start = begin - begin % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_WILLNEED, start, begin + size - start)
