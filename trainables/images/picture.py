"""Decode one image file to uint8, whatever its format; by content, not by ending.

    pixels, sound = decode(path, side, window)   # sound: no value was NaN or infinite
    memory(path, side)                           # a bound, from the header
    reading(path)                                # what decides its pixels besides its bytes

Needs NumPy and Pillow, and pydicom for DICOM: the report writes these functions into
`best/load.py`. Every error names the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from trainables.errors import UserError
from trainables.images.dicom import count_pixels, decode_dicom, dicom_memory, is_dicom
from trainables.images.levels import Window, scaled

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG2000", "PPM")
STACKS = ("TIFF", "GIF", "WEBP")
PIXELS = 178_000_000  # limit of one image: 3.6 GB while it is decoded
GREY = frozenset({"1", "L", "I;16", "I;16B", "I;16L"})
HEAD = 132  # bytes that tell the format
JPEG, END = b"\xff\xd8", b"\xff\xd9"  # a JPEG's first and last bytes
MORE = bytes(np.random.default_rng(0).integers(1, 255, 4096, np.uint8))  # no marker in it

Image.MAX_IMAGE_PIXELS = None  # PIL's own limit warns on stderr; ours is PIXELS


def decode(
    path: Path, side: int = 0, window: Window | None = None
) -> tuple[NDArray[np.uint8], bool]:
    """Decode to uint8 [h, w, 3], or [h, w] if grey; a JPEG may be reduced to >= 2 * `side`.

    Transparency is blended over black. More than 8 bits: see `levels.scaled`; window: their black
    and white. UserError if the image is unreadable, cut off or too large.
    """
    with _named(path), path.open("rb") as file:
        if is_dicom(_head(file), path):
            _check_size(path, count_pixels(path))
            return decode_dicom(path, window), True
        with _opened(path, file, side) as image:
            _check_pages(path, image)
            image.load()
            if image.format == "JPEG" and _cut(image, file, side):
                raise ValueError("its end is missing")
            ImageOps.exif_transpose(image, in_place=True)
            return _uint8(image, window)


def memory(path: Path, side: int = 0) -> int:
    """Bound the bytes that `decode` and a resize of its result need, from the file's header."""
    with _named(path), path.open("rb") as file:
        if is_dicom(_head(file), path):
            return dicom_memory(path)
        with _opened(path, file, side) as image:
            return image.width * image.height * (8 if image.mode in GREY else 20)


def reading(path: Path) -> str:
    """Name the version of how grey levels are read; "" for 8 bits and what can't be read."""
    try:
        with path.open("rb") as file:
            head = _head(file)
            if is_dicom(head, path):
                return " dicom 1"
            if head.startswith(JPEG):
                return ""
            with Image.open(file, formats=FORMATS) as image:
                return " levels 1" if image.mode[0] in "IF" else ""
    except (OSError, SyntaxError, ValueError):
        return ""


def _head(file: IO[bytes]) -> bytes:
    head = file.read(HEAD)
    file.seek(0)
    return head


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what decoders raise into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # pydicom and Pillow's plug-ins raise nearly anything
        if isinstance(error, MemoryError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: must be a readable image ({reason}); try replacing it or taking it out"
        ) from error


@contextmanager
def _opened(path: Path, file: IO[bytes], side: int) -> Iterator[Image.Image]:
    """Open an image, reading its header only."""
    with Image.open(file, formats=FORMATS) as image:
        _check_size(path, image.width * image.height)
        if side:
            image.draft(None, (2 * side, 2 * side))
        yield image


def _check_size(path: Path, pixels: int) -> None:
    if pixels > PIXELS:
        raise UserError(
            f"{path}: must have at most {PIXELS / 1e6:.0f} megapixels, has "
            f"{pixels / 1e6:.0f}; try making it smaller or taking it out of the data"
        )


def _check_pages(path: Path, image: Image.Image) -> None:
    """Raise UserError for a stack or an animation; smaller pages are previews."""
    if image.format not in STACKS or (pages := getattr(image, "n_frames", 1)) == 1:
        return
    size = image.size
    image.seek(1)
    alike = image.size == size
    image.seek(0)
    if alike:
        raise UserError(
            f"{path}: must be one image, not {pages} pages; try saving each page, or those to "
            "train on, as a file of its own"
        )


def _cut(image: Image.Image, file: IO[bytes], side: int) -> bool:
    """Tell whether a JPEG that ends as it should lacks rows, which libjpeg fills with grey.

    Pillow passes on none of libjpeg's warnings. Bytes added before the end change no complete
    picture; they are read as rows where some are missing. Only a picture with a mid-grey last
    pixel is decoded again.
    """
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last,)
    if any(abs(value - 128) > 1 for value in values):  # type: ignore[operator]
        return False
    file.seek(0)
    start, end, rest = file.read().rpartition(END)
    if not end:
        return False
    with Image.open(BytesIO(start + MORE + end + rest), formats=FORMATS) as longer:
        if side:
            longer.draft(None, (2 * side, 2 * side))
        return not np.array_equal(np.asarray(longer), np.asarray(image))


def _uint8(image: Image.Image, window: Window | None) -> tuple[NDArray[np.uint8], bool]:
    if image.mode in ("L", "RGB"):
        return np.asarray(image), True
    if image.mode[0] in "IF":
        values = np.asarray(image)
        return scaled(values, window), bool(image.mode != "F" or np.isfinite(values).all())
    if image.mode == "1":
        return np.asarray(image.convert("L")), True
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image.convert("RGB")), True
