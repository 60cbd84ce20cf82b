"""Attention and the score: the objective against AIL over chains, and AIL by last task.

A colour a label; baselines and singles have none, and are grey.
"""

from collections.abc import Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from search.report.attention import AIL, AREA, attended
from search.report.figures import style
from search.report.table import Row, Table

START, SINGLE = "start", "single"
MARKS = {  # by label: colour, marker
    "C": (style.BLUE, "o"), "AC": (style.WINNER, "s"), "MC": ("#2e8b57", "^"),
    SINGLE: (style.MUTED, "o"), START: (style.INK, "D"),
}  # fmt: skip
FEWEST = 3  # rows


def draw(table: Table) -> Figure | None:
    """Draw both panels; None for fewer than three rows whose attention was measured."""
    rows = attended(table)
    if len(rows) < FEWEST:
        return None
    figure = Figure(figsize=(style.WIDTH, 4.2))
    against, by_task = figure.subplots(1, 2)
    _against(against, rows, table)
    _by_task(by_task, rows)
    used = dict.fromkeys(map(_label, rows))
    legend = [style.mark(MARKS[one][1], MARKS[one][0], one) for one in MARKS if one in used]
    style.legend(figure, legend, columns=5)
    return figure


def _label(row: Row) -> str:
    return START if row.is_baseline else row.label if row.label in MARKS else SINGLE


def _ail(row: Row) -> float:
    return row.measures[AIL].value


def _against(axes: Axes, rows: Sequence[Row], table: Table) -> None:
    for row in rows:
        colour, marker = MARKS[_label(row)]
        ail, score = row.measures[AIL], row.score or 0.0
        reach = [[ail.value - ail.low], [ail.high - ail.value]]
        axes.errorbar(
            [ail.value], [score], xerr=reach, fmt=marker, color=colour, markersize=6,
            elinewidth=0.8, alpha=0.85,
        )  # fmt: skip
    areas = [row.measures[AREA].value for row in rows if AREA in row.measures]
    if areas:
        axes.axvline(areas[0], color=style.FAINT, linestyle="--")
        axes.set_title("dashed: AIL by chance", fontsize=9, fontweight="normal")
    axes.set(xlabel="AIL, %, with its 95 % interval", ylabel=table.objective.with_unit)


def _by_task(axes: Axes, rows: Sequence[Row]) -> None:
    by_task = dict[str, list[Row]]()
    for row in sorted(rows, key=_ail):
        by_task.setdefault(row.tasks[-1] if row.tasks else START, []).append(row)
    order = sorted(by_task, key=lambda one: fmean(map(_ail, by_task[one])))
    for place, own in enumerate(by_task[one] for one in order):
        for k, row in enumerate(own):
            colour, marker = MARKS[_label(row)]
            shift = 0.24 * ((k + 0.5) / len(own) - 0.5)  # so that equal ones are seen
            axes.plot([_ail(row)], [place + shift], marker, color=colour)
        mean = fmean(map(_ail, own))
        axes.plot([mean, mean], [place - 0.3, place + 0.3], color=style.FAINT, zorder=0)
    axes.set_yticks(range(len(order)), [one.replace("_", " ") for one in order], parse_math=False)
    axes.set(xlabel="AIL, %", title="AIL by last task; a line at its mean")
