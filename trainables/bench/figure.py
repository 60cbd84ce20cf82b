"""The measured rates as bars, one group a task."""

from pathlib import Path
from typing import Any

COLOURS = {
    "step alone": "#d9d9d9",
    "limit": "#a6a6a6",
    "ours": "#1f77b4",
    "torchvision": "#ff7f0e",
    "lightly": "#2ca02c",
}


def draw(result: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = result["tasks"]
    figure = Figure(figsize=(1.6 + 1.5 * len(tasks), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    width = 0.85 / len(COLOURS)
    for place, (name, colour) in enumerate(COLOURS.items()):
        at = [(i, row["pipelines"][name]["rate"]) for i, row in enumerate(tasks.values())
              if name in row["pipelines"]]  # fmt: skip
        if at:
            where = [i + (place - (len(COLOURS) - 1) / 2) * width for i, _ in at]
            axes.bar(where, [rate for _, rate in at], width * 0.92, color=colour, label=name)
    axes.set_xticks(range(len(tasks)), [task.replace("_", "\n") for task in tasks])
    axes.set_ylabel("images/s")
    axes.set_title(result["title"], fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  frameon=False, fontsize=8)  # fmt: skip
    figure.savefig(path, dpi=150)
