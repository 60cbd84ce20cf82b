"""Grey levels: from 16-bit, float and other values to 0..255, without a say of single pixels.

    scaled(values)                  # uint8; by the bit depth that the picture fills, or quantiles
    scaled(values, (-1000, 400))    # the stated black and white

Needs NumPy only: the report writes these functions into `best/load.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Window = tuple[float, ...]  # black and white
Values = NDArray[Any]

QUANTILES = 0.01, 0.99  # defect pixels, NaN and small burnt-in marks lie beyond them
WHITES = (1, 255, 1023, 4095, 16383, 65535)  # of fractions, and of 8 to 16 bits
BRIGHT, SPREAD = 1 / 2, 1 / 8  # of white: what a picture reaches and spans if that is its white
SAMPLE = 1 << 20  # values that quantiles are of
STRIP = 64  # rows scaled at once: in float64 the whole image would take 8 times the result


def scaled(values: Values, window: Window | None = None, inverted: bool = False) -> NDArray:
    """Scale [h, w] to uint8; NaN is black, and so is a picture of one value.

    8-bit values without a window stay as they are. inverted: high values are dark.
    """
    if values.dtype == np.uint8 and window is None:
        return 255 - values if inverted else values
    black, white = window or natural_window(values)
    if inverted:
        black, white = white, black
    scale = 1 / (white - black) if white != black else 0.0
    levels = np.empty(values.shape, np.uint8)
    for at in range(0, len(values), STRIP):
        strip = values[at : at + STRIP].astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity times 0
            strip = np.nan_to_num((strip - black) * scale, nan=0.0).clip(0, 1)
        levels[at : at + STRIP] = np.round(255 * strip)
    return levels


def natural_window(values: Values) -> Window:
    """Return black and white of a picture: 0 and its bit depth's white, or its quantiles.

    A picture that fills a bit depth keeps its own black and white, so that 8 and 16 bits of one
    picture are alike; one with an offset, negative values or few levels is stretched.
    """
    low, high = _quantiles(values)
    for white in WHITES:
        if high <= white:
            fills = high >= BRIGHT * white and high - low >= SPREAD * white
            return (0.0, float(white)) if fills and low >= -white / 64 else (low, high)
    return low, high


def _quantiles(values: Values) -> tuple[float, float]:
    """Return values that at least one other lies beyond, on either side; (0, 0) if none is finite.

    Where nearly all values are one, as in a dark picture with few bright spots, the others decide.
    """
    flat = values.ravel()
    flat = flat[:: flat.size // SAMPLE + 1]
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return 0.0, 0.0
    low, high = _ends(flat)
    if low >= high and (others := flat[flat != low]).size:
        below, above = _ends(others)
        low, high = min(low, below), max(high, above)
    return low, high


def _ends(flat: Values) -> tuple[float, float]:
    low, high = QUANTILES
    return (
        float(np.quantile(flat, low, method="higher")),
        float(np.quantile(flat, high, method="lower")),
    )
