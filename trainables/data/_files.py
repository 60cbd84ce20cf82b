"""Decode one image file; errors name the file.

pixels = decode(path)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.errors import UserError
from trainables.images.files import regular

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
# Decided by content, not by suffix.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
PIXELS = 178_000_000  # limit of one image: 3.6 GB while it is decoded
GREY = frozenset({"1", "L", "I;16", "I;16B", "I;16L"})
STRIP = 256  # rows stretched at once

Image.MAX_IMAGE_PIXELS = None  # PIL's own limit warns on stderr; ours is PIXELS


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


def decode(path: Path, side: int = 0) -> NDArray[np.uint8]:
    """Decode to uint8 [h, w, 3], or [h, w] if grey; a JPEG may be reduced to >= 2 * `side`.

    Transparency is blended over black. Grey of more than 8 bits is stretched to its own range.
    UserError if the image is unreadable or too large.
    """
    with _opened(path, side) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _pixels(image)


def memory(path: Path, side: int = 0) -> int:
    """Bound the bytes that `decode` and a resize of its result need, from the file's header."""
    with _opened(path, side) as image:
        return image.width * image.height * (8 if image.mode in GREY else 20)


@contextmanager
def _opened(path: Path, side: int) -> Iterator[Image.Image]:
    """Open an image, reading its header only; UserError names the file if the block fails."""
    regular(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            if (pixels := image.width * image.height) > PIXELS:
                raise UserError(
                    f"{path}: must have at most {PIXELS / 1e6:.0f} megapixels, has "
                    f"{pixels / 1e6:.0f}; try making it smaller or taking it out of the data"
                )
            if side:
                image.draft(None, (2 * side, 2 * side))
            yield image
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: must be a readable image ({reason}); try replacing it or taking it out"
        ) from error


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode in ("L", "RGB"):
        return np.asarray(image)
    if image.mode[0] in "IF":
        return _stretched(np.asarray(image))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB"))


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Stretch to 0..255 in strips: in float64 the whole image would take 8 times the result."""
    low, high = np.float64(values.min()), np.float64(values.max())  # type: ignore[arg-type]
    scale = 255 / (high - low) if high > low else 0.0
    stretched = np.empty(values.shape, np.uint8)
    for at in range(0, len(values), STRIP):
        strip = values[at : at + STRIP].astype(np.float64)
        stretched[at : at + STRIP] = np.round((strip - low) * scale)
    return stretched
