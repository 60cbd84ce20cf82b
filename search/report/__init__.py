"""What a finished search looks like: table, figures, page, best backbone. Reads the store only.

    summary = write(plan, results, info, store, out)

Writes `out/report/` (chains.csv, summary.json, index.html, figures) and `out/best/`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.plan import Plan
from search.report import best, summary, table
from search.report.stored import Store
from search.results import ChainResult, RunInfo


def write(
    plan: Plan, results: Sequence[ChainResult], info: RunInfo, store: Store, out: Path
) -> dict[str, Any]:
    """Everything a reader gets; returns what is in summary.json."""
    from search.report import figures, page

    folder = out / "report"
    folder.mkdir(parents=True, exist_ok=True)
    rows = table.build(results, store)
    rows.write_csv(folder / "chains.csv")
    made = summary.build(rows, info, store)
    (folder / "summary.json").write_text(json.dumps(made, indent=2, allow_nan=False) + "\n")
    drawn = figures.draw(rows, store, folder)
    if rows.best:
        best.write(rows.best, plan, info, store, made, out / "best")
    html = page.render(rows, plan, info, made, drawn)
    (folder / "index.html").write_text(html, encoding="utf-8")
    return made
