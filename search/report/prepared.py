"""How images were prepared: as code for `best/load.py`, in words for card and console.

text = source()     # what `read` and `preprocess` in load.py.txt call
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType

import numpy as np

from search.space.schema import Data
from trainables.images import dicom, fit, levels, picture

FITS = {
    "crop": "the middle square of every image",
    "pad": "every image with black bars to a square",
    "stretch": "every image stretched to a square",
}
SOME, GREY = 100, 2  # images that tell; levels by which the channels of a grey one may differ
MODULES = (levels, fit, dicom, picture)  # each needs those before it only


def source() -> str:
    """Return the modules one after the other, without their docstrings and imports."""
    return "\n\n\n".join(_body(module) for module in MODULES)


def _body(module: ModuleType) -> str:
    text = inspect.getsource(module)
    first = next(node for node in ast.parse(text).body if not _is_head(node))
    return "\n".join(text.splitlines()[first.lineno - 1 :]).strip()


def _is_head(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom | ast.Expr)


def words(data: Data, side: int) -> str:
    """Say how a file becomes a square."""
    first = "Borders cut, then " if data.trim else ""
    channels = "grey" if data.channels == 1 else "RGB"
    window = f", values of more than 8 bits from {list(data.window)}" if data.window else ""
    said = f"{first}{FITS[data.fit]}, {side} x {side} px, {channels}{window}"
    return said[0].upper() + said[1:]


def findings(found: Mapping[str, int], images: int, data: Data) -> Iterator[str]:
    """Yield sentences on what was met while images were decoded; found: see `Prepared`."""
    if data.trim:
        cut = found.get("trimmed", 0)
        yield f"a border was cut from {cut} of {images} images ({cut / images:.1%}), data.trim=true"
    if unsound := found.get("unsound", 0):
        yield f"{unsound} images have values that are NaN or infinite; NaN is shown black"


def colourless(images: np.ndarray, data: Data) -> Iterator[str]:
    """Yield a sentence if none of some images (n, side, side, 3) has a colour."""
    some = images[:: max(1, len(images) // SOME)]
    if data.channels == 3 and max(int(np.ptp(one, axis=-1).max()) for one in some) <= GREY:
        yield (
            f"none of {len(some)} images that were checked has colours; for X-rays add "
            "modality=xray data.channels=1: no flips, small rotations, one channel"
        )
