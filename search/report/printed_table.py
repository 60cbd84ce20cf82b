"""The table in a terminal.

console.print(render(table))
"""

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from search.console.printable import line
from search.report import words
from search.report.table import Row, Table, number, yes_no


def render(table: Table) -> RichTable:
    """Build the table for 80 columns, without pruned chains; notes go to the caption."""
    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    shown.caption, shown.caption_justify, shown.caption_style = _caption(table), "left", "dim"
    shown.add_column("chain", overflow="fold")
    shown.add_column("label")
    score = f"{table.objective.with_unit}\n(interval)".replace(" ", "\n", 1)
    for column in (score, "delta", "above\nscratch", "above\nImageNet"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        if row.status != "pruned":
            cells = map(line, _terminal_cells(row))
            shown.add_row(*cells, style=_style(row, table))
    return shown


def _style(row: Row, table: Table) -> str:
    if row == table.best:
        return "bold green"
    return "italic" if row.is_baseline else "" if row.score is not None else "dim"


def _terminal_cells(row: Row) -> list[str]:
    label = "" if row.is_baseline else row.label
    if row.score is None:
        return [row.chain, label, row.status, *[""] * 3]
    return [
        row.chain,
        label,
        f"{number(row.score)} ({row.ci_low or 0:.1f}–{row.ci_high or 0:.1f})",
        number(row.delta, signed=True),
        yes_no(row.above_scratch),
        yes_no(row.above_imagenet),
    ]


def _caption(table: Table) -> Text | None:
    lines = [words.ties(table)] if table.best else []
    lines += [
        f"{row.chain}: {row.status}, {row.reason}"
        for row in table.rows
        if row.status in ("stopped", "failed", "not run") and row.reason
    ]
    if pruned := sum(row.status == "pruned" for row in table.rows):
        lines.append(f"{pruned} chains pruned, never trained")
    if edges := sum(row.at_edge for row in table.scored):
        lines.append(f"{edges} rows chose a rate at the edge of its range: see the report")
    return Text("\n").join(map(line, lines)) if lines else None
