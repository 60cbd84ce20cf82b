"""The pretext figure: a confusion matrix for each single whose task has fixed answers.

Relative Location's says whether a border gave places away: its corners (1, 3, 6, 8) stand out then.
"""

import numpy as np
from matplotlib.figure import Figure

from search.report import stored
from search.report.figures import style
from search.report.stored import Store
from search.report.table import Table


def confusions(table: Table, store: Store) -> Figure | None:
    """Draw confusions, a row for each true answer; None if no single has fixed answers."""
    drawn = []
    for row in (row for row in table.scored if row.length == 1):
        confusion = stored.history(store, row.stage_key).get("confusion")
        if confusion and row.pretext_chance is not None:
            title = f"{row.chain}: {100 * row.pretext_chance:.0f} % by chance"
            drawn.append((title, np.array(confusion)))
    if not drawn:
        return None
    figure = Figure(figsize=(style.WIDTH, 0.46 * style.WIDTH))
    places = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (title, counts) in zip(places, drawn, strict=False):
        names = [str(k + 1) for k in range(len(counts))]
        style.confusion(axes, counts, names, "{:.0f}", 8)
        axes.set_title(title, parse_math=False)
        axes.set_xlabel("answered")
    return figure
