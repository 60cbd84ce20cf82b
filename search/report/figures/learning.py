"""The learning curves: the frozen probe against the steps of a task, one line a task and start."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from search.chains.chain import SCRATCH
from search.report.figures import style
from search.report.learning import LearningCurve

COLOURS = (style.BLUE, style.WINNER, style.INK, style.PALE, style.MUTED)
LINES = ("-", "--", ":", "-.")  # of the starts; scratch is the first


def draw(curves: Sequence[LearningCurve]) -> Figure | None:
    """Draw a colour a task and a line style a start; None without a curve."""
    if not curves:
        return None
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    starts = list(dict.fromkeys([SCRATCH, *(curve.start for curve in curves)]))
    figure = Figure(figsize=(style.WIDTH, 3.6))
    axes = figure.subplots()
    for curve in curves:
        axes.plot(
            curve.steps, curve.auroc, marker="o", markersize=4, label=curve.title,
            color=COLOURS[tasks.index(curve.task) % len(COLOURS)],
            linestyle=LINES[starts.index(curve.start) % len(LINES)],
        )  # fmt: skip
    axes.set(xlabel="steps of the stage", ylabel="frozen probe: macro AUROC, %")
    style.legend(figure, axes.lines, columns=3)
    return figure
