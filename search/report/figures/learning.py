"""The learning curves: the frozen probe against the steps of a stage, one line a stage."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from search.chains.chain import SCRATCH, Chain
from search.report.figures import style
from search.report.learning import LearningCurve

COLOURS = (style.BLUE, style.WINNER, style.INK, style.PALE, style.MUTED)
MARKS = "osD^vP"  # with the colours 30 tasks
LINES = ("-", "--", ":", "-.")  # of the starts; scratch is the first


def draw(curves: Sequence[LearningCurve]) -> Figure | None:
    """Draw a colour and a marker a task, a line style a start; None without a curve.

    Thick: a stage after another one.
    """
    if not curves:
        return None
    tasks = list(dict.fromkeys(curve.task for curve in curves))
    starts = list(dict.fromkeys([SCRATCH, *(curve.start for curve in curves)]))
    figure = Figure(figsize=(style.WIDTH, 3.6))
    axes = figure.subplots()
    for curve in curves:
        task, later = tasks.index(curve.task), len(Chain.parse(curve.chain).tasks) > 1
        axes.plot(
            curve.steps, curve.auroc, marker=MARKS[task % len(MARKS)], markersize=4,
            label=curve.title, color=COLOURS[task % len(COLOURS)], linewidth=2.6 if later else 1.4,
            linestyle=LINES[starts.index(curve.start) % len(LINES)],
        )  # fmt: skip
    axes.set(xlabel="steps of the stage", ylabel="frozen probe: macro AUROC, %")
    style.legend(figure, axes.lines, columns=3)
    return figure
