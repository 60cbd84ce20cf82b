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
    with matplotlib.rc_context(style.RC):
        figures = {
            "tree": tree.draw(table),
            "intervals": forest.draw(table) if table.scored else None,
            "label_curve": label_curve.draw(
                found.label_curve, table.objective, _recommended(found)
            ),
            "relation": relation.draw(table),
            "regret": regret.draw(steps) if len(steps) > 1 else None,
            "confusion": _confusion(found, store),
            "learning": learning.draw(found.learning),
            "finetuning": curves.finetuning(table, store),
            "lr_ranges": curves.lr_ranges(table, store),
            "pretext": pretext.confusions(table, store),
        }
        mark = notes.mark(found.info)
        for figure in filter(None, figures.values() if mark else ()):
            figure.suptitle(mark, fontsize=10, color=style.WINNER)
        return {name: _write(f, folder / f"{name}.png") for name, f in figures.items() if f}


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
        if figure and (mark := notes.mark(found.info)):
            figure.suptitle(mark, fontsize=10, color=style.WINNER)
        if figure:
            _write(figure, folder / FIGURE)


def _recommended(found: Summary) -> str | None:
    return found.recommended.name if found.recommended else None


def _confusion(found: Summary, store: Store) -> Figure | None:
    row = found.winner
    shown = stored.predictions(store, first_key(row), "val") if row else None
    return curves.confusions(shown) if shown and not shown.many else None


def _write(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=style.DPI, metadata={"Software": None})
    return path
