"""Every figure of the report, as PNG files.

    draw(found, store, out / "report")   -> {"tree": out/report/tree.png, ...}

A figure is left out when there is nothing to draw. Importing this costs matplotlib's second.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from search.report import notes, stored
from search.report.attention import FIGURE
from search.report.figures import (
    attention,
    curves,
    forest,
    label_curve,
    learning,
    pretext,
    regret,
    relation,
    style,
    tree,
)
from search.report.stored import Store
from search.report.summary import Summary, first_key

if TYPE_CHECKING:
    from trainables.images.cache import Prepared


def draw(found: Summary, store: Store, folder: Path) -> dict[str, Path]:
    """Draw the figures into `folder`; return name -> PNG file, in the page's order."""
    table, steps = found.table, found.course
    chosen = found.recommended.name if found.recommended else None
    with matplotlib.rc_context(style.RC):
        figures = {
            "tree": tree.draw(table),
            "intervals": forest.draw(table) if table.scored else None,
            "label_curve": label_curve.draw(found.label_curve, table.objective, chosen),
            "relation": relation.draw(table),
            "regret": regret.draw(steps, table.best) if len(steps) > 1 else None,
            "confusion": _confusion(found, store),
            "learning": learning.draw(found.learning),
            "finetuning": curves.finetuning(table, store),
            "lr_ranges": curves.lr_ranges(table, store),
            "pretext": pretext.confusions(table, store),
        }
        mark, drawn = notes.mark(found.info), {k: one for k, one in figures.items() if one}
        return {k: _write(one, folder / f"{k}.png", mark) for k, one in drawn.items()}


def draw_attention(
    found: Summary,
    store: Store,
    folder: Path,
    data: "Prepared | None",
    masks: "Prepared | None",
) -> None:
    """Draw what the networks attend to, if the images are given.

    It is the one figure that shows patients, so the page only links to it.
    """
    with matplotlib.rc_context(style.RC):
        figure = attention.draw(found.table, store, data, masks) if data else None
        if figure:
            _write(figure, folder / FIGURE, notes.mark(found.info))


def _confusion(found: Summary, store: Store) -> Figure | None:
    row = found.winner
    shown = stored.predictions(store, first_key(row), "val") if row else None
    return curves.confusions(shown) if shown and not shown.many else None


def _write(figure: Figure, path: Path, mark: str) -> Path:
    if mark:
        figure.suptitle(mark, fontsize=10, color=style.WINNER)
    figure.savefig(path, dpi=style.DPI, metadata={"Software": None})
    return path
