"""Decode one image file; errors name the file.

pixels = decode(path)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.errors import UserError
from trainables.images import dicom, picture
from trainables.images.files import regular
from trainables.images.levels import Window

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", *dicom.ENDINGS},
)


def existing(root: Path | None, holds: str) -> Path:
    """Return the data set's folder; UserError if there is none."""
    if root is None or not root.is_dir():
        raise UserError(
            f"--data={root or ''}: must be the folder that holds {holds}; try --data PATH"
        )
    return root


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
