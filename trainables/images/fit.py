"""From a picture of any shape to the square that a network sees.

    pixels, cut = trimmed(pixels)                    # if data.trim: without a border
    square(pixels, side, channels, "crop")           # uint8 [side, side, channels]

Needs NumPy and Pillow only: the report writes these functions into `best/load.py`.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom

FINE = 256  # px: borders are measured on a picture of about this size
DARK, LIGHT = 32, 243  # a border's grey is at most, or at least
CORNER = 48  # a corner outside a round picture is darker
EVEN = 12  # levels that most of a line of border differs by
LEAST = 1 / 3  # of width and height, which stays
STEP = 0.01  # of width and height, by which a round picture's box shrinks at once


def square(
    pixels: NDArray[np.uint8], side: int, channels: int, fit: str = "crop"
) -> NDArray[np.uint8]:
    """Bring [h, w] or [h, w, 3] to [side, side, channels].

    fit: crop cuts the longer side at both ends; pad adds black bars; stretch keeps no proportions.
    """
    image = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    width, height = image.size
    if fit == "pad" and width != height:
        whole = Image.new(image.mode, (side, side))
        size = _inside(width, height, side)
        image = image.resize(size, Image.Resampling.BICUBIC)
        whole.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
        image = whole
    else:
        short = min(image.size)
        left, top = ((width - short) / 2, (height - short) / 2) if fit == "crop" else (0, 0)
        box = (left, top, width - left, height - top)
        if box != (0, 0, side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(image).reshape(side, side, channels)


def _inside(width: int, height: int, side: int) -> tuple[int, int]:
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


def trimmed(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], bool]:
    """Cut an even dark or light frame, and the dark corners of a round picture.

    Returns the pixels that stay and whether any were cut. At least a third of width and height
    stays: what is dark beyond that is a dark picture.
    """
    left, top, right, bottom = border(pixels)
    if (left, top, right, bottom) == (0, 0, pixels.shape[1], pixels.shape[0]):
        return pixels, False
    return pixels[top:bottom, left:right], True


def border(pixels: NDArray[np.uint8]) -> Box:
    """Return what `trimmed` keeps."""
    image = Image.fromarray(pixels).convert("L")
    factor = max(1, max(image.size) // FINE)
    grey = np.asarray(image.reduce(factor)).astype(np.int64)
    height, width = grey.shape
    framed = _without_frame(grey)
    left, top, right, bottom = _inside_circle(grey, framed)
    right = image.width if right == width else right * factor
    bottom = image.height if bottom == height else bottom * factor
    return left * factor, top * factor, right, bottom


def _without_frame(grey: NDArray[np.int64]) -> Box:
    height, width = grey.shape
    top, bottom = _even_lines(grey), height - _even_lines(grey[::-1])
    if bottom - top < LEAST * height:
        return 0, 0, width, height
    columns = grey[top:bottom].T
    left, right = _even_lines(columns), width - _even_lines(columns[::-1])
    return (left, top, right, bottom) if right - left >= LEAST * width else (0, 0, width, height)


def _even_lines(lines: NDArray[np.int64]) -> int:
    """Count the first lines that are a border: dark or light, and even but for its blurred end."""
    low, median, high = np.quantile(lines, (0.05, 0.5, 0.95), axis=1)
    border = (high - low <= EVEN) & ((median <= DARK) | (median >= LIGHT))
    return int(np.argmin(border)) if not border.all() else len(lines)


def _inside_circle(grey: NDArray[np.int64], frame: Box) -> Box:
    """Shrink the box until no corner is dark, if all four are; the frame if too little stays."""
    left, top, right, bottom = frame
    if not all(_dark_corners(grey[top:bottom, left:right])):
        return frame
    height, width = grey.shape
    across, down = STEP * (right - left), STEP * (bottom - top)
    for step in range(1, round(0.5 / STEP)):
        x, y = round(step * across), round(step * down)
        box = (left + x, top + y, right - x, bottom - y)
        if box[2] - box[0] < LEAST * width or box[3] - box[1] < LEAST * height:
            break
        if not any(_dark_corners(grey[box[1] : box[3], box[0] : box[2]])):
            return box
    return frame


def _dark_corners(grey: NDArray[np.int64]) -> list[bool]:
    k = max(1, min(grey.shape) // 50)
    corners = (grey[:k, :k], grey[:k, -k:], grey[-k:, :k], grey[-k:, -k:])
    return [bool(corner.mean() <= CORNER) for corner in corners]
