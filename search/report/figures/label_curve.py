"""The label curve: scores against the fraction of labels, fine-tuned and by a linear probe."""

from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from search.report.figures import style
from search.report.labels import Labelled, chains
from search.report.statistics.scored import Estimate
from trainables.spec import MeasureType

COLOURS = (style.BLUE, style.INK, style.PALE)
GREYS = (style.MUTED, style.FAINT)
APART = 1.06  # factor between the bars of two rows at one fraction, so that they do not hide


def draw(
    points: Sequence[Labelled], objective: MeasureType, recommended: str | None
) -> Figure | None:
    """Draw a panel for fine-tuning and one for the probe; None without two fractions."""
    fractions = sorted({point.labels for point in points})
    if len(fractions) < 2:
        return None
    figure = Figure(figsize=(style.WIDTH, 3.9))
    left, right = figure.subplots(1, 2, sharey=True)
    looks = _looks(points, recommended)
    for place, (chain, (marker, colour)) in enumerate(looks.items()):
        own = sorted((p for p in points if p.chain == chain), key=lambda p: p.labels)
        nudge = APART ** (place - (len(looks) - 1) / 2)
        tuned = [(nudge * p.labels, p.tuned) for p in own]
        probe = [(nudge * p.labels, p.probe) for p in own if p.probe]
        for axes, line in ((left, tuned), (right, probe)):
            _curve(axes, line, marker, colour)
    for axes, title in ((left, "fine-tuned"), (right, "linear probe")):
        _scale(axes, fractions, title)
    left.set_ylabel(objective.with_unit)
    style.legend(figure, _legend(looks))
    return figure


def _looks(points: Sequence[Labelled], recommended: str | None) -> dict[str, tuple[str, str]]:
    """Return marker and colour: orange is the recommended, grey diamonds are starts."""
    found, starts = {}, {point.chain for point in points if point.baseline}
    colours, greys = cycle(COLOURS), cycle(GREYS)
    for chain in chains(points):
        start = chain in starts
        colour = next(greys) if start else next(colours)
        found[chain] = "D" if start else "o", style.WINNER if chain == recommended else colour
    return found


def _curve(axes: Axes, line: Sequence[tuple[float, Estimate]], marker: str, colour: str) -> None:
    for at, one in line:
        axes.plot([at, at], [one.low, one.high], color=colour, linewidth=1.4, alpha=0.7)
    values = [one.value for _, one in line]
    axes.plot([at for at, _ in line], values, marker=marker, color=colour, markersize=6)


def _scale(axes: Axes, fractions: Sequence[float], title: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(fractions))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set(title=title, xlabel="fraction of the training labels")


def _legend(looks: dict[str, tuple[str, str]]) -> list[Line2D]:
    return [style.mark(marker, colour, chain) for chain, (marker, colour) in looks.items()]
