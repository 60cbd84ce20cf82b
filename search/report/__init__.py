"""What a finished search looks like: table, figures, page, best backbone. Reads the store only.

    table = build(results, store)
    drawn = draw(table, store, out)                             # the figures, which take longest
    summary = write(table, drawn, plan, info, store, out)
    console.print(terminal.render(table))

Writes `out/report/` (chains.csv, summary.json, index.html, figures) and `out/best/`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.plan import Plan
from search.report import best, evidence, summary, terminal
from search.report import table as rows
from search.report.stored import Store
from search.report.table import Table
from search.results import ChainResult, RunInfo

__all__ = ["best", "build", "draw", "evidence", "rows", "summary", "terminal", "write"]


def build(results: Sequence[ChainResult], store: Store) -> Table:
    """The one table, compared: page, figures, files and terminal take their numbers from it."""
    return evidence.compare(rows.build(results, store), store)


def draw(table: Table, store: Store, out: Path) -> dict[str, Path]:
    """Every figure, by name."""
    from search.report import figures

    folder = out / "report"
    folder.mkdir(parents=True, exist_ok=True)
    return figures.draw(table, store, folder)


def write(
    table: Table, drawn: dict[str, Path], plan: Plan, info: RunInfo, store: Store, out: Path
) -> dict[str, Any]:
    """Everything a reader gets besides the figures; returns what is in summary.json."""
    from search.report import page

    folder = out / "report"
    table.write_csv(folder / "chains.csv")
    made = summary.build(table, info, store)
    (folder / "summary.json").write_text(json.dumps(made, indent=2, allow_nan=False) + "\n")
    if table.best:
        best.write(table.best, plan, info, store, made, out / "best")
    html = page.render(table, plan, info, made, drawn)
    (folder / "index.html").write_text(html, encoding="utf-8")
    return made
