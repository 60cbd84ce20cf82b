"""Patterns of `demo`'s drawn lesions, as functions of a lesion's coordinates, 0..1 per pixel.

    Patterns(table, frequency, x, y).get("network")

All derive from a small table of random numbers: cells around jittered points (network, globules,
dots, lacunae) and smooth noise (blotch, ridges, vessels).
"""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
CELLS = 16  # side of the tables of random numbers, in cells; patterns repeat after that


class Patterns:
    """Patterns of one view, 0..1 per pixel, each computed on first use."""

    def __init__(self, table: Field, frequency: float, x: Field, y: Field) -> None:
        self.table, self.frequency, self.x, self.y = table, frequency, x, y
        self.cells: tuple[Field, Field, Field] | None = None

    def get(self, name: str) -> Field | float:
        if name == "flat":
            return 1.0
        if name == "blotch":
            return step(self._wave(1.7) * 3)
        if name == "ridges":
            return bump(self._wave(2.6) / 0.16)
        if name == "vessels":
            return bump(self._wave(1.4) / 0.07) * step(self._wave(2.3) * 4 + 1)
        return self._cellular(name)

    def _cellular(self, name: str) -> Field:
        if self.cells is None:
            self.cells = _cells(self.table, self.x, self.y, self.frequency)
        near, second, value = self.cells
        if name == "network":
            return bump((second - near) / 0.22)
        if name == "globules":
            return step((0.3 - near) * 10) * (value < 0.65)
        if name == "dots":
            return step((0.22 - near) * 14) * (value > 0.68)
        assert name == "lacunae", name
        return step((second - near - 0.22) * 8)

    def _wave(self, frequency: float) -> Field:
        """Return smooth noise around 0 in the lesion's coordinates, from its table."""
        return _smooth(self.table[2], self.x * frequency + 3, self.y * frequency + 5) - 0.5


def _cells(table: Field, x: Field, y: Field, frequency: float) -> tuple[Field, Field, Field]:
    """Return distances to the nearest two points of a jittered grid, and the nearest's value."""
    x, y = x * frequency, y * frequency
    left, top = np.floor(x), np.floor(y)
    x, y = x - left, y - top
    column, row = left.astype(np.int32), top.astype(np.int32)
    near = second = np.full(x.shape, 9.0)
    value = np.zeros_like(x)
    across, down, values = table.reshape(3, -1)
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            at = (column + dx) % CELLS * CELLS + (row + dy) % CELLS
            distance = (across[at] + (dx - x)) ** 2 + (down[at] + (dy - y)) ** 2
            value = np.where(distance < near, values[at], value)
            second = np.minimum(second, np.maximum(near, distance))
            near = np.minimum(near, distance)
    return np.sqrt(near), np.sqrt(second), value


def _smooth(table: Field, x: Field, y: Field) -> Field:
    """Interpolate the table's values with a smooth step; the table repeats at its borders."""
    left, top = np.floor(x), np.floor(y)
    fx, fy = x - left, y - top
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    x0, y0 = left.astype(np.int32) % CELLS, top.astype(np.int32) % CELLS
    x1, y1 = (x0 + 1) % CELLS, (y0 + 1) % CELLS
    upper = table[x0, y0] * (1 - fx) + table[x1, y0] * fx
    lower = table[x0, y1] * (1 - fx) + table[x1, y1] * fx
    return upper * (1 - fy) + lower * fy


def step(values: Field) -> Field:
    """Return a smooth step from 0 to 1 around 0, with steepest slope 1/2."""
    return 0.5 + 0.5 * np.tanh(values)


def bump(values: Field) -> Field:
    return np.exp(-values * values)
