"""The regret figure: points behind the best chain against the cost so far."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from search.report.figures import style
from search.report.statistics.course import Step
from search.report.table import Row

HOUR, MINUTE = 3600, 60
MANY = 150  # chains; above that, dots are small


def draw(steps: Sequence[Step], best: Row | None) -> Figure:
    """Draw the regret against stages, and against time where it is known. best: the best chain."""
    timed = [step.seconds for step in steps if step.seconds is not None]
    figure = Figure(figsize=(style.WIDTH, 4.0))
    panels = figure.subplots(1, 2, sharey=True) if len(timed) == len(steps) else [figure.subplots()]
    winner = next((k for k, step in enumerate(steps) if best and step.chain == best.chain), None)
    _against(panels[0], steps, winner, [step.stages for step in steps], "stages trained")
    found = steps[-1 if winner is None else winner]
    if found.stages_alone != found.stages:
        end = panels[0].get_xlim()
        panels[0].step(
            [step.stages_alone for step in steps], [step.regret for step in steps], where="post",
            color=style.MUTED, linewidth=1.2, linestyle="--", label="without shared prefixes",
        )  # fmt: skip
        panels[0].set_xlim(end)
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("points behind the best chain")
    if len(timed) == len(steps):
        unit, name = (HOUR, "hours") if timed[-1] > 2 * HOUR else (MINUTE, "minutes")
        title = f"worker {name} of training and scoring"
        _against(panels[1], steps, winner, [one / unit for one in timed], title)
    style.legend(figure, panels[0].lines)
    return figure


def _against(
    axes: Axes, steps: Sequence[Step], winner: int | None, cost: Sequence[float], name: str
) -> None:
    regret, missing = zip(*((step.regret, step.missing) for step in steps), strict=True)
    axes.plot(
        cost, missing, "o", color=style.PALE, zorder=2,
        markersize=5 if len(steps) <= MANY else 2.5, label="a chain, when it was scored",
    )  # fmt: skip
    axes.step(
        cost, regret, where="post", color=style.BLUE, linewidth=2.2, zorder=3,
        label="the best chain so far",
    )  # fmt: skip
    if winner is not None:
        axes.plot(
            [cost[winner]], [regret[winner]], "o", color=style.WINNER, markersize=9, zorder=5,
            label="the best chain", clip_on=False,
        )  # fmt: skip
    axes.set(xlabel=name, xlim=(0, cost[-1] * 1.03))
    axes.set_ylim(bottom=min(-0.02 * axes.get_ylim()[1], 1.1 * min(missing)))  # the line at zero
