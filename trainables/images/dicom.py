"""Read one DICOM image as its makers want it shown; needs NumPy and pydicom.

    decode_dicom(path)             # uint8 [h, w, 3] or [h, w], bones white
    dicom_memory(path)             # a bound, from the header

In order: modality LUT or rescale; the stated window, else the file's VOI LUT, else its first
window, else robust quantiles; MONOCHROME1 inverted. Overlays are not pixels. The report writes
these functions into `best/load.py`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import NotInstalled, UserError
from trainables.images.levels import Window, scaled

MAGIC = b"DICM"  # after a preamble of 128 bytes
ENDINGS = (".dcm", ".dicom", ".ima")
BYTES = 40  # of a pixel while it is decoded
FAR = 2**30  # beyond every value of a window
INSTALL = "uv sync --extra dicom"


def is_dicom(head: bytes, path: Path) -> bool:
    """Tell by a file's first 132 bytes; old files without a preamble by their ending."""
    return head[128:132] == MAGIC or path.suffix.lower() in ENDINGS


def has_magic(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do; False if it can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def decode_dicom(path: Path, window: Window | None = None) -> NDArray[np.uint8]:
    """Decode to uint8 [h, w, 3], or [h, w] if grey. UserError, ValueError if it is no image."""
    header = _read(path, stop_before_pixels=False)
    from pydicom.pixels import pixel_array
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    try:
        pixels = pixel_array(header, correct_unused_bits=True)  # some hold overlays
    except (RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{path}: must be compressed in a way that pydicom's plug-ins read "
            f"({' '.join(str(error).split())}); try {INSTALL}, or saving it uncompressed"
        ) from None
    if header.PhotometricInterpretation == "PALETTE COLOR":
        return _eight_bits(apply_color_lut(pixels, header), 16)
    if pixels.ndim == 3:
        return _eight_bits(pixels, header.BitsStored)
    inverted = header.PhotometricInterpretation == "MONOCHROME1"
    values = apply_modality_lut(pixels, header)
    if window is None:
        values, window = _shown(values, header)
    return scaled(values, window, inverted)


def dicom_memory(path: Path) -> int:
    """Bound the bytes that `decode_dicom` and a resize of its result need."""
    return count_pixels(path) * BYTES


def count_pixels(path: Path) -> int:
    """Return the number of pixels from the header; UserError, ValueError if it is no image."""
    header = _read(path, stop_before_pixels=True)
    return int(header.Rows) * int(header.Columns)


def form(path: Path) -> tuple[int, int, str]:
    """Return width, height and kind of grey or colour from the header."""
    header = _read(path, stop_before_pixels=True)
    kind = header.get("PhotometricInterpretation", "?")
    return (
        int(header.Columns),
        int(header.Rows),
        f"DICOM {kind} {header.get('BitsStored', '?')} bit",
    )


def patient(path: Path) -> str:
    """Return the header's PatientID; "" without one, or if the header can't be read."""
    try:
        header = _read(path, stop_before_pixels=True)
    except NotInstalled:
        raise
    except Exception:  # pydicom raises nearly anything; decoding names the file
        return ""
    return str(header.get("PatientID") or "").strip()


def stored_pixels(path: Path) -> bytes:
    """Return the pixels as stored, perhaps compressed; the path if they can't be read."""
    try:
        return bytes(_read(path, stop_before_pixels=False).PixelData)
    except NotInstalled:
        raise
    except Exception:  # as in `patient`
        return str(path).encode()


def _read(path: Path, stop_before_pixels: bool) -> Any:
    try:
        import pydicom
    except ModuleNotFoundError:
        raise NotInstalled(
            f"{path}: must be read by pydicom, which is not installed; try {INSTALL}"
        ) from None
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # no word on old files
    header = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels, force=True)
    if not header.get("Rows") or not header.get("Columns"):
        raise ValueError("a DICOM file without an image")
    if (frames := int(header.get("NumberOfFrames") or 1)) > 1:
        raise UserError(
            f"{path}: must be one image, not {frames} frames; try saving each frame, or those to "
            "train on, as a file of its own"
        )
    return header


def _shown(values: NDArray, header: Any) -> tuple[NDArray, Window | None]:
    """Apply the VOI LUT, else the first window; return the values with their black and white.

    None stands for no usable one.
    """
    from pydicom.pixels.processing import apply_voi_lut

    ends = np.array([-FAR, FAR], np.int64)
    if not header.get("VOILUTSequence") and not header.get("WindowWidth"):
        return values, None
    try:
        if header.get("VOILUTSequence"):  # pydicom wraps values beyond it
            entries, first, _ = header.VOILUTSequence[0].LUTDescriptor
            ends = np.array([first, first + (entries or 2**16) - 1], np.int64)
            values = np.rint(values).astype(np.int64).clip(*ends)
        with np.errstate(over="ignore"):  # of a sigmoid's ends
            black, white = np.sort(apply_voi_lut(ends, header)).astype(float)
            shown = apply_voi_lut(values, header)
    except (ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return values, None
    return (shown, (black, white)) if white > black else (values, None)


def _eight_bits(colours: NDArray, bits: int) -> NDArray[np.uint8]:
    if colours.dtype == np.uint8:
        return colours
    return (colours >> max(0, bits - 8)).clip(0, 255).astype(np.uint8)
