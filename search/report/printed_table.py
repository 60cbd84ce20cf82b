"""The result in a terminal: the starts, verdicts, notes and the table.

console.print(starts(found))
for line in lead(found): say(line)
console.print(render(found))
console.print(further(found))      # unless it is None
"""

from collections.abc import Iterator

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from search.console.printable import line
from search.report import published, verdict_words, words
from search.report.summary import Summary
from search.report.table import Row, Table, number

MEASURED = 10  # chains in the table of further measures


def starts(found: Summary) -> RichTable | None:
    """Build the table of the starts' frozen probes; None without probes."""
    if all(row.linear is None for row in found.table.probed):
        return None
    shown = _table()
    shown.add_column("start", overflow="fold")
    for column in ("frozen: linear\n(interval)", "kNN\n(interval)", "fine-\ntuned"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in found.table.probed:
        linear = _within(row.linear, row.linear_low, row.linear_high)
        knn = _within(row.knn, row.knn_low, row.knn_high)
        tuned = row.status if row.score is None else number(row.score)
        shown.add_row(*map(line, (row.chain, linear, knn, tuned)), style=_style(row))
    return shown


def _within(value: float | None, low: float | None, high: float | None) -> str:
    ends = "" if low is None or high is None else f" ({low:.1f}–{high:.1f})"
    return f"{number(value)}{ends}"


def lead(found: Summary) -> Iterator[str]:
    """Yield the headline, whether pretraining pays, the verdicts and the notes."""
    yield f"{found.headline}."
    yield found.worth
    yield from filter(None, words.verdicts(found))
    yield from published.sentences(found.published)
    yield from (f"note: {note}" for note in found.notes)


def render(found: Summary) -> RichTable:
    """Build the table for 80 columns, without pruned chains; remarks go to the caption."""
    table = found.table
    shown = _table()
    shown.caption, shown.caption_justify, shown.caption_style = _caption(found), "left", "dim"
    shown.add_column("chain", overflow="fold")
    shown.add_column("label")
    for column in _columns(table):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        if row.status != "pruned":
            cells = map(line, _cells(row, table))
            shown.add_row(*cells, style=_style(row))
    return shown


def further(found: Summary) -> RichTable | None:
    """Build the table of the measures beside the objective; None where there is none."""
    table = found.table
    if not table.beside:
        return None
    shown, rows = _table(), [*table.chains[:MEASURED], *table.starts]
    shown.add_column("chain", overflow="fold")
    for one in (table.objective, *table.beside):
        shown.add_column(one.with_unit.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in sorted(rows, key=table.scored.index):
        cells = [number(row.score), *map(number, table.further(row).values())]
        shown.add_row(*map(line, (row.chain, *cells)), style=_style(row))
    if len(table.chains) > MEASURED:
        shown.caption = f"{len(table.chains) - MEASURED} lower chains: see the report"
    return shown


def _table() -> RichTable:
    return RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)


def _style(row: Row) -> str:
    if row.recommended:
        return "bold green"
    return "italic" if row.is_baseline else "" if row.score is not None else "dim"


def _columns(table: Table) -> list[str]:
    score = f"{table.objective.with_unit}\n(interval)".replace(" ", "\n", 1)
    return [score, "fresh\nseeds", *(["could be\nthe best"] if table.compared else [])]


def _cells(row: Row, table: Table) -> list[str]:
    label = "" if row.is_baseline else "control" if row.control else row.label
    label = " ".join(filter(None, (label, table.mark(row))))
    if row.score is None:
        return [row.chain, label, row.status, *[""] * (len(_columns(table)) - 1)]
    score = _within(row.score, row.ci_low or 0.0, row.ci_high or 0.0)
    cells = [row.chain, label, score, number(row.fresh_score)]
    if not table.compared:
        return cells
    could = {True: "yes", False: "no", None: "–"}[row.could_be_best]
    return [*cells, could]


def _caption(found: Summary) -> Text | None:
    table = found.table
    lines = [f"control: {verdict_words.control(row, table)}" for row in found.controls]
    lines += [
        f"{row.chain}: {row.status}, {row.reason}"
        for row in table.rows
        if row.status in ("stopped", "failed", "not run") and row.reason
    ]
    if pruned := sum(row.status == "pruned" for row in table.rows):
        lines.append(f"{verdict_words.count(pruned, 'chain')} pruned, never trained")
    if edges := sum(row.at_edge for row in table.scored):
        lines.append(f"{edges} rows chose a rate at the edge of its range: see the report")
    return Text("\n").join(map(line, lines)) if lines else None
