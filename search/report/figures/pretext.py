"""The pretext figure: a confusion matrix for each single whose task has fixed answers.

Relative Location's says whether a border gave places away: its corners (1, 3, 6, 8) stand out then.
"""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from search.report import stored
from search.report.figures import style
from search.report.stored import Store
from search.report.table import Row, Table


def confusions(table: Table, store: Store) -> Figure | None:
    """Draw confusions, a row for each true answer; None if no single has fixed answers."""
    drawn = []
    for row in table.scored:
        counts = stored.history(store, row.stage_key).get("confusion") if row.length == 1 else None
        if counts:
            drawn.append((row, np.array(counts), stored.result(store, row.stage_key)))
    if not drawn:
        return None
    figure = Figure(figsize=(style.WIDTH, 0.46 * style.WIDTH))
    places = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (row, counts, result) in zip(places, drawn, strict=False):
        _draw(axes, row, counts, result)
    return figure


def _draw(axes: Axes, row: Row, counts: Any, result: dict[str, Any]) -> None:
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    colours, norm, size = style.score_colours(), Normalize(0, 1), len(counts)
    axes.imshow(fractions, cmap=colours, norm=norm)
    for true, said in np.ndindex(size, size):
        axes.text(
            said, true, f"{100 * fractions[true, said]:.0f}", ha="center", va="center",
            color=style.ink_on(colours, norm, fractions[true, said]),
            fontsize=8, fontweight="bold" if true == said else "normal",
        )  # fmt: skip
    names = [str(k + 1) for k in range(size)]
    axes.set_xticks(range(size), names)
    axes.set_yticks(range(size), names)
    axes.tick_params(length=0, labelcolor=style.INK)
    axes.set_title(f"{row.chain}: {100 * result['chance']:.0f} % by chance", parse_math=False)
    axes.set(xlabel="answered", ylabel="truth")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
