"""The forest plot: every chain with its interval and whether it could be the best."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.report.figures import style
from search.report.table import Row, Table, number

MAX_ROWS = 40  # chains in a figure with one line a chain
COLUMNS = 6, 44  # of score and fresh-seed score, in points right of the axes


def shown(table: Table) -> list[Row]:
    """Return the best chains, every baseline and control, best first."""
    best = table.chains[:MAX_ROWS]
    return [row for row in table.scored if row.is_baseline or row.control or row in best]


def draw(table: Table) -> Figure:
    """Draw the intervals of the best chains; baselines also as vertical lines."""
    rows = shown(table)
    height = 0.32 if len(rows) <= 20 else 0.27
    figure = Figure(figsize=(style.WIDTH, height * len(rows) + 1.7))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        _interval(axes, y, row)
        _beside(axes, y, number(row.score), number(row.fresh_score))
        if row.is_baseline:
            axes.axvline(row.score or 0, color=style.MUTED, linewidth=1, dashes=(4, 3), zorder=1)
    axes.set(
        yticks=range(len(rows)), yticklabels=[_named(row) for row in rows],
        ylim=(len(rows) - 0.4, -0.6), xlabel=f"{table.objective.with_unit}, 95 % interval",
    )  # fmt: skip
    axes.tick_params("y", length=0, labelsize=9.5, labelcolor=style.INK)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    left_out = len(table.scored) - len(rows)
    if left_out:
        axes.set_title(f"{left_out} lower chains left out", fontweight="normal", fontsize=9)
    _beside(axes, -1, "score", "fresh", style.MUTED)
    style.legend(figure, _marks(rows))
    return figure


def _named(row: Row) -> str:
    label = "(baseline)" if row.is_baseline else "(control)" if row.control else row.label
    return f"{row.title}  {label}".rstrip()


def _interval(axes: Axes, y: int, row: Row) -> None:
    """Draw an interval; hollow dots can't be the best."""
    best, muted = row.recommended, row.is_baseline or row.control
    colour = style.WINNER if best else style.MUTED if muted else style.BLUE
    assert row.score is not None
    if row.ci_low is not None and row.ci_high is not None:
        axes.plot([row.ci_low, row.ci_high], [y, y], color=colour, linewidth=2, alpha=0.75)
    if row.repeat_keys:
        seeds = row.seed_scores
        axes.plot(seeds, [y] * len(seeds), "|", color=colour, markersize=9, markeredgewidth=1.3)
    filled = "white" if row.could_be_best is False else colour
    axes.plot(
        [row.score], [y], "D" if row.is_baseline else "o", color=colour,
        markersize=8 if best else 6.5, markerfacecolor=filled, markeredgewidth=1.6, zorder=4,
    )  # fmt: skip


def _beside(axes: Axes, y: int, score: str, fresh: str, colour: str = style.INK) -> None:
    """Write the score and that of the fresh seeds beside the axes."""
    for column, text in zip(COLUMNS, (score, fresh), strict=True):
        axes.annotate(
            text, (1.0, y), (column, 0), va="center", fontsize=9, annotation_clip=False,
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=colour,
        )  # fmt: skip


def _marks(rows: list[Row]) -> list[Line2D]:
    """Return the marks that occur, for the legend."""
    marks = []
    for row in (row for row in rows if row.recommended):
        marks.append(style.mark("D" if row.is_baseline else "o", style.WINNER, "recommended"))
    if any(row.could_be_best for row in rows):
        marks.append(style.mark("o", style.BLUE, "could be the best"))
    if any(row.could_be_best is False for row in rows):
        marks.append(style.mark("o", style.BLUE, "worse than another", markerfacecolor="white"))
    if any(row.repeat_keys for row in rows):
        marks.append(style.mark("|", style.BLUE, "one seed"))
    if any(row.is_baseline for row in rows):
        marks.append(style.mark("D", style.MUTED, "baseline"))
    if any(row.control for row in rows):
        marks.append(style.mark("o", style.MUTED, "control"))
    return marks
