"""The forest plot: every chain with its interval and whether it can be told from the winner."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from search.report.figures import style
from search.report.table import Row, Table, number, p_text

MAX_ROWS = 40  # chains in a figure with one line a chain
COLUMNS = 6, 44  # of score and p-value, in points right of the axes


def shown(table: Table) -> list[Row]:
    """Return the best chains and every baseline, best first."""
    best = table.chains[:MAX_ROWS]
    return [row for row in table.scored if row.is_baseline or row in best]


def draw(table: Table) -> Figure:
    """Draw the intervals of the best chains; baselines also as vertical lines."""
    rows = shown(table)
    height = 0.32 if len(rows) <= 20 else 0.27
    figure = Figure(figsize=(style.WIDTH, height * len(rows) + 1.7))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        best = row == table.best
        _interval(axes, y, row, best)
        _beside(axes, y, number(row.score), "winner" if best else p_text(row.p_value))
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
    _beside(axes, -1, "score", "p", style.MUTED)
    style.legend(figure, _marks(rows))
    return figure


def _named(row: Row) -> str:
    return f"{row.title}  {'(baseline)' if row.is_baseline else row.label}".rstrip()


def _interval(axes: Axes, y: int, row: Row, best: bool) -> None:
    """Draw an interval; hollow dots are significantly different from the winner."""
    colour = style.WINNER if best else style.MUTED if row.is_baseline else style.BLUE
    assert row.score is not None
    if row.ci_low is not None and row.ci_high is not None:
        axes.plot([row.ci_low, row.ci_high], [y, y], color=colour, linewidth=2, alpha=0.75)
    if row.repeat_keys:
        seeds = row.seed_scores
        axes.plot(seeds, [y] * len(seeds), "|", color=colour, markersize=9, markeredgewidth=1.3)
    axes.plot(
        [row.score], [y], "D" if row.is_baseline else "o", color=colour,
        markersize=8 if best else 6.5, markerfacecolor="white" if row.tied is False else colour,
        markeredgewidth=1.6, zorder=4,
    )  # fmt: skip


def _beside(axes: Axes, y: int, score: str, p_value: str, colour: str = style.INK) -> None:
    """Write the score and the p-value of its difference to the winner beside the axes."""
    for column, text in zip(COLUMNS, (score, p_value), strict=True):
        axes.annotate(
            text, (1.0, y), (column, 0), va="center", fontsize=9, annotation_clip=False,
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", color=colour,
        )  # fmt: skip


def _marks(rows: list[Row]) -> list[Line2D]:
    """Return the marks that occur, for the legend."""
    chains = [row for row in rows if not row.is_baseline]
    marks = [style.mark("o", style.WINNER, "winner")]
    if any(row.tied for row in chains[1:]):
        marks.append(style.mark("o", style.BLUE, "tied with the winner"))
    if any(row.tied is False for row in chains):
        worse = "significantly worse than the winner"
        marks.append(style.mark("o", style.BLUE, worse, markerfacecolor="white"))
    if any(row.repeat_keys for row in rows):
        marks.append(style.mark("|", style.BLUE, "one seed"))
    if len(chains) < len(rows):
        marks.append(style.mark("D", style.MUTED, "baseline (hollow: significantly different)"))
    return marks
