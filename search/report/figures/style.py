"""The style of the figures: one palette, safe for colour-blind readers, with readable labels.

The lightness of blue encodes the score; orange marks the winner or a flagged rate; all else is
grey.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

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


def ink_on(colour: NDArray[np.float64]) -> str:
    """Return a text colour that is readable on this colour, RGBA in 0..1."""
    red, green, blue, _ = colour
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.55 else "white"


def mark(marker: str, colour: str, label: str, **more: Any) -> Line2D:
    """Return a mark for a legend."""
    return Line2D([], [], marker=marker, color=colour, linestyle="none", label=label, **more)


def legend(figure: Figure, handles: Iterable[Artist], columns: int = 4) -> None:
    """Explain the handles below all panels, each label once."""
    unique = {handle.get_label(): handle for handle in handles}
    figure.legend(handles=[*unique.values()], loc="outside lower center", ncols=columns, fontsize=9)


def confusion(
    axes: Axes, counts: NDArray[np.int64], names: Sequence[str], text: str, size: float
) -> None:
    """Draw counts [truth, answer] as fractions of each true answer.

    text: format of percent and count, for each pair that occurs. size: of the text, in points.
    """
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colours = axes.imshow(fractions, cmap=score_colours(), norm=Normalize(0, 1))
    for (row, column), fraction in np.ndenumerate(fractions):
        if fraction or row == column:
            axes.text(
                column, row, text.format(100 * fraction, counts[row, column]), ha="center",
                va="center", fontsize=size, color=ink_on(colours.cmap(fraction)),
                fontweight="bold" if row == column else "normal",
            )  # fmt: skip
    axes.set_xticks(range(len(names)), names, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set_ylabel("truth")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
