"""The style of the figures: one palette, safe for colour-blind readers, with readable labels.

The lightness of blue encodes the score; orange marks the winner or a flagged rate; all else is
grey.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from numpy.typing import NDArray

Cell = tuple[int, int]

INK, MUTED, FAINT, GRID = "#1d2733", "#66727f", "#b4bec8", "#e6eaee"
WINNER, BLUE, PALE = "#c8500a", "#2f6f9f", "#a9c4d9"
DPI = 150
WIDTH = 9.0  # inches, of every figure

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}


def score_colours() -> Colormap:
    """Return the colour map: light is low, dark is high, also in grey print."""
    steps = ["#f3f6f9", "#cfe0ea", "#93bdd3", "#4b8fb5", "#1f5f8b", "#0c3554"]
    return LinearSegmentedColormap.from_list("score", steps)


def ink_on(colours: Colormap, norm: Normalize, value: float) -> str:
    """Return a text colour that is readable on the colour of this value."""
    red, green, blue, _ = colours(float(norm(value)))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.55 else "white"


def matrix(
    axes: Axes, fractions: NDArray[np.float64], cells: Mapping[Cell, str], size: float
) -> None:
    """Draw [true, said] fractions of each true answer; cells: their texts, size: in points."""
    colours, norm = score_colours(), Normalize(0, 1)
    axes.imshow(fractions, cmap=colours, norm=norm)
    for at, text in cells.items():
        axes.text(
            at[1], at[0], text, ha="center", va="center", fontsize=size,
            color=ink_on(colours, norm, fractions[at]),
            fontweight="bold" if at[0] == at[1] else "normal",
        )  # fmt: skip
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_ylabel("truth")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
