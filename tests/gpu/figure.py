"""The picture of a confirmation: intervals and seeds, a panel for each fraction of the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from search.report.figures import style
from search.report.statistics.scored import Estimate


@dataclass(frozen=True)
class Row:
    """A row's mean with its interval, the score of each seed, and whether it is a start."""

    name: str
    mean: Estimate
    seeds: Sequence[float]
    is_start: bool


def write(panels: Mapping[float, Sequence[Row]], label: str, file: Path) -> None:
    """Write the figure as PNG. panels: rows by fraction of the labels; label: of the scores."""
    with matplotlib.rc_context(style.RC):
        drawn(panels, label).savefig(file, dpi=style.DPI)


def drawn(panels: Mapping[float, Sequence[Row]], label: str) -> Figure:
    """Draw the figure. A row has the same height in every panel, also where it is missing."""
    names = [*dict.fromkeys(row.name for rows in panels.values() for row in rows)]
    figure = Figure(figsize=(style.WIDTH, 0.42 * len(names) + 1.6))
    (all_axes,) = figure.subplots(1, len(panels), sharey=True, squeeze=False)
    for axes, (fraction, rows) in zip(all_axes, panels.items(), strict=True):
        for row in rows:
            y = names.index(row.name)
            colour = style.MUTED if row.is_start else style.BLUE
            mean = row.mean
            axes.plot([mean.low, mean.high], [y, y], color=colour, linewidth=2, alpha=0.75)
            axes.plot(row.seeds, [y] * len(row.seeds), "|", color=colour, markersize=9)
            axes.plot([mean.value], [y], "D" if row.is_start else "o", color=colour, zorder=4)
            if row.is_start:
                axes.axvline(mean.value, color=style.MUTED, linewidth=1, dashes=(4, 3), zorder=1)
        axes.set(
            yticks=range(len(names)), yticklabels=names,
            ylim=(len(names) - 0.4, -0.6), title=f"{100 * fraction:g} % of the labels",
            xlabel=label,
        )  # fmt: skip
        axes.tick_params("y", length=0, labelcolor=style.INK)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
    marks = [
        style.mark("o", style.BLUE, "chain"), style.mark("D", style.MUTED, "start"),
        style.mark("|", style.BLUE, "one seed; lines: 95 % interval"),
    ]  # fmt: skip
    style.legend(figure, marks)
    return figure
