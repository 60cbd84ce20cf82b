"""What was measured: as JSON, as lines of a table, and as bars."""

from dataclasses import dataclass, field
from pathlib import Path

from trainables.bench.measure import Measured

COLUMNS = ("ours", "limit", "step alone", "torchvision", "lightly")
COMPARED = ("limit", "torchvision", "lightly")
COLOURS = ("#1f77b4", "#a6a6a6", "#d9d9d9", "#ff7f0e", "#2ca02c")  # of COLUMNS


@dataclass
class Result:
    """All measurements so far. failed: reasons, by task."""

    title: str
    about: dict[str, object]  # machine, settings and cache
    tasks: dict[str, dict[str, Measured]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, object]:
        """Return the content of throughput.json."""
        rows = {task: _plain(found) for task, found in self.tasks.items()}
        return {"title": self.title, **self.about, "tasks": rows, "failed": self.failed}


def ratios(found: dict[str, Measured]) -> dict[str, float]:
    """Return our throughput over that of each pipeline of COMPARED that was measured."""
    return {name: found["ours"].over(found[name]) for name in COMPARED if name in found}


def _plain(found: dict[str, Measured]) -> dict[str, object]:
    over = ratios(found)
    return {
        "of_limit": over.pop("limit", None),
        "over": over,
        "pipelines": {name: one.plain() for name, one in found.items()},
    }


def heading() -> str:
    names = "".join(f"{name:>13}" for name in COLUMNS)
    over = "".join(f"{name:>14}" for name in ("ours/limit", "/torchvision", "/lightly"))
    return f"{'images/s':18}{names}{over}   waiting: ours, torchvision   memory: the same"


def line(task: str, found: dict[str, Measured]) -> str:
    speeds = {name: f"{one.images_per_second:.0f}" for name, one in found.items()}
    over = {name: f"{ratio:.2f}" for name, ratio in ratios(found).items()}
    cells = "".join(f"{speeds.get(name, '–'):>13}" for name in COLUMNS)
    cells += "".join(f"{over.get(name, '–'):>14}" for name in COMPARED)
    both = [found[name] for name in ("ours", "torchvision") if name in found]
    waiting = ", ".join(f"{one.waiting:.0%}" for one in both)
    memory = ", ".join(f"{one.memory / 2**30:.2f} GiB" for one in both)
    return f"{task:18}{cells}   {waiting:>26}   {memory}"


def draw(result: Result, path: Path) -> None:
    """Draw the throughput of every task and pipeline as a PNG file."""
    from matplotlib.figure import Figure

    tasks = result.tasks
    figure = Figure(figsize=(max(6.0, 1.6 + 1.5 * len(tasks)), 3.6), layout="constrained")
    axes = figure.subplots()
    width = 0.85 / len(COLUMNS)
    for place, (name, colour) in enumerate(zip(COLUMNS, COLOURS, strict=True)):
        at = [(i, found[name].images_per_second) for i, found in enumerate(tasks.values())
              if name in found]  # fmt: skip
        if at:
            where = [i + (place - (len(COLUMNS) - 1) / 2) * width for i, _ in at]
            axes.bar(where, [speed for _, speed in at], width * 0.92, color=colour, label=name)
    axes.set_xticks(range(len(tasks)), [task.replace("_", "\n") for task in tasks])
    axes.set_ylabel("images/s")
    axes.set_title(result.title, fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  frameon=False, fontsize=8)  # fmt: skip
    figure.savefig(path, dpi=150)
