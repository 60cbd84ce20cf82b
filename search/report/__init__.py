"""The report of a search: table, figures, page, best backbone. Only reads the store.

    table = build(results, store, plan.objective, best_chain)
    summary = write(table, plan, info, store, out)
    illustrate(summary, plan, store, out)
    console.print(printed_table.render(summary))

Writes `out/report/` (chains.csv, summary.json, index.html, figures) and `out/best/`.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.chains.plan import Plan
from search.report import (
    attention,
    best,
    external,
    labels,
    ledger,
    printed_table,
    published,
    relation,
    rows,
    summary,
)
from search.report.statistics import verdicts
from search.report.stored import Store
from search.report.summary import Summary
from search.report.table import Table
from search.results.records import ChainResult, RunInfo
from trainables.spec import MeasureType

if TYPE_CHECKING:
    from trainables.images.cache import Prepared

__all__ = [
    "best", "build", "illustrate", "printed_table", "rows", "summary", "verdicts", "write",
]  # fmt: skip


def build(
    results: Sequence[ChainResult],
    store: Store,
    objective: MeasureType,
    best_chain: str | None = None,
    beside: Sequence[MeasureType] = (),
) -> Table:
    """Build the table with its comparisons, from which all parts of the report are made.

    best_chain: the policy's recommendation; None takes the highest score. beside: further measures
    to show.
    """
    table = verdicts.compare(rows.build(results, store, objective, best_chain, beside), store)
    chosen = verdicts.recommended(table)
    marked = [
        replace(row, recommended=chosen is not None and row.chain == chosen.name)
        for row in table.rows
    ]
    return replace(table, rows=tuple(marked))


def write(table: Table, plan: Plan, info: RunInfo, store: Store, out: Path) -> Summary:
    """Write chains.csv, summary.json and the recommended backbone to `out`; return the summary.

    A use of test images is recorded beside the store.
    """
    folder = out / "report"
    folder.mkdir(parents=True, exist_ok=True)
    table.write_csv(folder / "chains.csv")
    found = summary.build(table, info, store, plan.space.test)
    found = replace(found, published=published.beside(table, plan.space))
    if plan.masks is None and attention.attended(table):
        found = replace(found, notes=(*found.notes, attention.WITHOUT_MASKS))
    if found.test:
        scored = [row for row in table.rows if row.chain in found.test]
        use = ledger.use(plan, scored, store, out)
        found = replace(found, seen=ledger.record(use, ledger.folder(store)))
    text = json.dumps(found.as_json(), indent=2, allow_nan=False)
    (folder / "summary.json").write_text(text + "\n")
    if found.label_curve:
        labels.write_csv(found.label_curve, plan.objective, folder / "label_curve.csv")
    if found.external:
        external.write_csv(found.external, plan.objective, folder / "external.csv")
    if found.relations:
        relation.write_csv(found.relations, table, folder / "attention.csv")
    if found.winner:
        best.write(found, plan, store, out / "best")
    return found


def illustrate(
    found: Summary,
    plan: Plan,
    store: Store,
    out: Path,
    data: "Prepared | None" = None,
    masks: "Prepared | None" = None,
) -> None:
    """Draw the figures, which takes longest, and write the page to `out/report`.

    data, masks: the images, to show what networks attend to; None leaves that figure out.
    """
    from search.report.figures import draw as figures
    from search.report.page import page

    folder = out / "report"
    loads = (out / "best" / best.BACKBONE).exists()
    drawn = figures.draw(found, store, folder)
    figures.draw_attention(found, store, folder, data, masks)
    (folder / "index.html").write_text(page.render(found, plan, drawn, loads), encoding="utf-8")
