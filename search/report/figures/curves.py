"""Figures of the learning-rate ranges, the winner's confusions and the fine-tuning."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from search.report import stored
from search.report.figures import style
from search.report.figures.forest import shown
from search.report.stored import Predictions, Store, Trial
from search.report.table import Row, Table
from trainables.downstream.metrics import confusion
from trainables.spec import MeasureType

FINE_TUNING = "fine-tuning"
JUDGES = {"pretext": "the task's score", "probe": "frozen probe: macro AUROC, %"}
DASHES = "--", ":", "-."  # of the starts, the highest first
Records = list[dict[str, float]]


def lr_ranges(table: Table, store: Store) -> Figure | None:
    """Draw scores against learning rates: one panel a task and one for fine-tuning."""
    panels = _lr_panels(table, store)
    if not panels:
        return None
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(style.WIDTH, 2.7 * lines + 0.5))
    grid = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, (title, choices) in zip(grid, panels.items(), strict=False):
        _lr_panel(axes, title, choices.values(), table.objective)
    for axes in grid[len(panels) :]:
        axes.axis("off")
    style.legend(figure, _lr_marks(), columns=5)
    return figure


@dataclass(frozen=True)
class Choice:
    """A stage's LR trials. mine: on the winner's path. edge: rate at the range's edge.

    judge: what the trials' scores are.
    """

    trials: list[Trial]
    rate: float
    edge: bool
    mine: bool
    judge: str


def _lr_panels(table: Table, store: Store) -> dict[str, dict[str, Choice]]:
    """Return task -> stage key -> choice; the winner's come last, so that they are in front."""
    found: dict[str, dict[str, Choice]] = {}
    for row in reversed(shown(table)):
        titles = [*row.tasks, FINE_TUNING]
        keys = [*stored.lineage(store, row.stage_key), row.downstream_key]
        rates = [*filter(None, row.lrs.split(", ")), row.downstream_lr]
        for title, key, rate in zip(titles, keys, rates, strict=False):
            if key and (trials := stored.history(store, key)["lr_range"]):
                panel = found.setdefault(title, {})
                panel.pop(key, None)
                chosen = stored.result(store, key)["lr"]
                edge, judge = rate.endswith("*"), stored.lr_policy(store, key)["judge"]
                panel[key] = Choice(trials, chosen, edge, row == table.best, judge)
    return dict(sorted(found.items(), key=lambda panel: panel[0] == FINE_TUNING))


def _lr_panel(axes: Axes, title: str, choices: Iterable[Choice], objective: MeasureType) -> None:
    tuned = title == FINE_TUNING
    rates, judge = set[float](), ""
    for choice in choices:
        rates, judge = rates | {trial["lr"] for trial in choice.trials}, choice.judge
        _lr_line(axes, choice, objective.merit if tuned else float)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(sorted(rates)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    unit = objective.with_unit if tuned else JUDGES[judge]
    axes.set(xlabel="learning rate for a batch of 256", ylabel=unit)
    axes.set_title(title, parse_math=False)
    axes.margins(x=0.08, y=0.15)


def _lr_line(axes: Axes, choice: Choice, value: Callable[[float], float]) -> None:
    """Draw the last score of every rate; hollow where a rate was cancelled early.

    value: turns a trial's score into what is shown.
    """
    colour = style.WINNER if choice.mine else style.BLUE
    front, alpha = (4, 1.0) if choice.mine else (2, 0.4)
    draw = partial(axes.plot, color=colour, alpha=alpha, zorder=front)
    last = {trial["lr"]: [*trial["scores"].values()][-1] for trial in choice.trials}
    good = {rate: value(score) for rate, score in last.items() if score is not None}
    draw([*good], [*good.values()], linewidth=1.5)
    longest = max(trial["steps"] for trial in choice.trials)
    for trial in choice.trials:
        rate = trial["lr"]
        if rate not in good:
            bottom = axes.get_xaxis_transform()
            axes.plot([rate], [0.04], "x", color=style.MUTED, zorder=3, transform=bottom)
        elif rate == choice.rate:
            marker = "^" if choice.edge else "o"
            draw([rate], [good[rate]], marker=marker, markersize=8, markeredgecolor="white")
        elif trial["steps"] < longest:
            draw([rate], [good[rate]], marker="o", markersize=4.5, markerfacecolor="white")


def _lr_marks() -> list[Line2D]:
    return [
        style.mark("o", style.BLUE, "chosen rate"),
        style.mark("^", style.BLUE, "at the edge of its range"),
        style.mark("o", style.BLUE, "dropped on the way", markerfacecolor="white"),
        style.mark("x", style.MUTED, "diverged or collapsed"),
        Line2D([], [], color=style.WINNER, label="on the best chain"),
    ]


def confusions(said: Predictions) -> Figure:
    """Draw the confusions; a row is a true class, in % and with counts."""
    counts, size = confusion(said.labels, said.predicted, len(said.classes)), len(said.classes)
    figure = Figure(figsize=(style.WIDTH, min(max(0.52 * size + 1.2, 3.2), style.WIDTH)))
    axes = figure.subplots()
    style.confusion(axes, counts, said.classes, "{:.0f} %\n{}", 8.5 if size <= 12 else 6)
    axes.set_aspect("auto")
    names = [f"{one}  (n={n})" for one, n in zip(said.classes, counts.sum(1), strict=True)]
    axes.set_yticks(range(size), names, parse_math=False)
    axes.set_xlabel("predicted")
    return figure


def finetuning(table: Table, store: Store) -> Figure | None:
    """Draw loss and objective by step, winner and baselines in front."""
    drawn = [(row, stored.history(store, row.downstream_key)["train"]) for row in shown(table)]
    drawn = [(row, train) for row, train in drawn if train]
    if not drawn:
        return None
    figure = Figure(figsize=(style.WIDTH, 3.6))
    loss, judged = figure.subplots(1, 2)
    for row, train in reversed(drawn):
        _curve(loss, row, table, train, "loss")
        _curve(judged, row, table, train, "objective")
    loss.set_title("training loss")
    judged.set_title(f"validation: {table.objective.with_unit}")
    for axes in (loss, judged):
        axes.set_xlabel("steps of fine-tuning")
    style.legend(figure, reversed(judged.lines))
    return figure


def _curve(axes: Axes, row: Row, table: Table, train: Records, column: str) -> None:
    points = [(one["step"], one[column]) for one in train if column in one]
    if not points:
        return
    colour, width, line, label = style.FAINT, 1.0, "-", "other chains"
    if row == table.best:
        colour, width, label = style.WINNER, 2.6, row.chain
    elif row.is_baseline:
        line = DASHES[table.starts.index(row) % len(DASHES)]
        colour, width, label = style.INK, 1.8, row.title
    marker = "o" if len(points) == 1 else ""
    axes.plot(
        *zip(*points, strict=True), color=colour, linewidth=width, label=label, linestyle=line,
        marker=marker,
    )  # fmt: skip
