"""The one table that CSV, page, terminal, figures and tracker are made from.

    table = build(results, store)
    table.write_csv(out / "chains.csv"); console.print(terminal(table))

Best first with the baselines in their place; what has no score follows, pruned chains last.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import chain as chains
from search.chain import BASELINES, IMAGENET, SCRATCH, Chain
from search.report import stored
from search.report.stored import Store
from search.results import ChainResult

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from rich.text import Text

WITHOUT_SCORE = ("running", "planned", "not run", "failed", "pruned")  # in this order, at the end
BASELINE = "baseline"  # in the label's column


@dataclass(frozen=True)
class Row:
    """One chain or baseline; accuracies in percent, None where there is no number.

    lrs, downstream_lr: a * marks a rate on the edge of its range. train_seconds: of all its stages
    and its score, as if nothing had been shared.
    """

    chain: str
    length: int
    label: str
    balanced_accuracy: float | None
    ci_low: float | None
    ci_high: float | None
    delta: float | None
    better_than_scratch: bool | None
    better_than_imagenet: bool | None
    linear: float | None
    knn: float | None
    lrs: str
    downstream_lr: str
    status: str
    reason: str
    train_seconds: float | None
    stage_key: str | None
    downstream_key: str | None

    @property
    def is_baseline(self) -> bool:
        return self.chain in BASELINES

    @property
    def tasks(self) -> Chain:
        """The pretext tasks in order; none for a baseline."""
        return () if self.is_baseline else chains.parse(self.chain)


@dataclass(frozen=True)
class Table:
    """All rows of one search."""

    rows: tuple[Row, ...]

    @property
    def scored(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.balanced_accuracy is not None)

    @property
    def best(self) -> Row | None:
        """The best chain, never a baseline."""
        return next((row for row in self.scored if not row.is_baseline), None)

    def row(self, chain: str) -> Row | None:
        return next((row for row in self.rows if row.chain == chain), None)

    def accuracy(self, chain: str) -> float | None:
        row = self.row(chain)
        return row.balanced_accuracy if row else None

    def write_csv(self, path: Path) -> None:
        """One row a chain, two decimals, yes/no, nothing where there is no number."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            for row in self.rows:
                writer.writerow(_cell(value) for value in asdict(row).values())


def build(results: Sequence[ChainResult], store: Store) -> Table:
    """Every result as a row, labels and deltas from the singles' accuracies."""
    accuracies = {r.chain: r.score.balanced_accuracy for r in results if r.score}
    singles = {c[0]: a for c, a in accuracies.items() if len(c) == 1 and c[0] not in BASELINES}
    rows = [_row(result, store, accuracies, singles) for result in results]
    return Table(tuple(sorted(rows, key=_order)))


def terminal(table: Table) -> "RichTable":
    """What has a score or failed, within 80 columns; reasons, pruned chains and edges below."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    shown.caption, shown.caption_justify, shown.caption_style = _caption(table), "left", "dim"
    shown.add_column("chain", overflow="fold")
    shown.add_column("label")
    for column in ("score (interval)", "delta", "above\nscratch", "above\nImageNet"):
        shown.add_column(column, justify="right", no_wrap=True)
    for row in table.rows:
        if row.status != "pruned":
            cells = [Text(cell) for cell in _terminal_cells(row)]
            shown.add_row(*cells, style=_style(row, table))
    return shown


def number(value: float | None, signed: bool = False) -> str:
    """Two decimals; a dash where there is no number."""
    if value is None:
        return "–"
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def yes_no(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _row(
    result: ChainResult,
    store: Store,
    accuracies: Mapping[Chain, float],
    singles: Mapping[str, float],
) -> Row:
    tasks = () if result.chain[0] in BASELINES else result.chain
    score = result.score
    own = score.balanced_accuracy if score else None
    measured = stored.result(store, result.downstream_key)
    extras = measured | (score.extras if score else {})
    stages = {
        task: stored.result(store, key)
        for task, key in zip(tasks, stored.lineage(store, result.stage_key), strict=False)
    }
    return Row(
        chain=chains.name(result.chain),
        length=len(tasks),
        label=chains.label(tasks, singles) if tasks else BASELINE,
        balanced_accuracy=own,
        ci_low=score.ci_low if score else None,
        ci_high=score.ci_high if score else None,
        delta=None if own is None or not tasks else chains.delta(tasks, own, singles),
        better_than_scratch=_above(own, accuracies.get((SCRATCH,)), result.chain == (SCRATCH,)),
        better_than_imagenet=_above(own, accuracies.get((IMAGENET,)), result.chain == (IMAGENET,)),
        linear=extras.get("linear") if score else None,
        knn=extras.get("knn") if score else None,
        lrs=", ".join(f"{task} {_rate(stage)}" for task, stage in stages.items()),
        downstream_lr=_rate(measured) if score else "",
        status=result.status,
        reason=result.reason,
        train_seconds=_seconds([*stages.values(), measured]) if score else None,
        stage_key=result.stage_key,
        downstream_key=result.downstream_key,
    )


def _above(own: float | None, baseline: float | None, itself: bool) -> bool | None:
    return None if own is None or baseline is None or itself else own > baseline


def _rate(measured: Mapping[str, Any]) -> str:
    edge = "*" if measured.get("lr_at_edge") else ""
    return f"{measured['lr']:g}{edge}" if "lr" in measured else ""


def _seconds(measured: Sequence[Mapping[str, Any]]) -> float | None:
    known = [one["seconds"] for one in measured if "seconds" in one]
    return sum(known) if known else None


def _order(row: Row) -> tuple[int, float, int]:
    if row.balanced_accuracy is not None:
        return 0, -row.balanced_accuracy, row.length
    place = WITHOUT_SCORE.index(row.status) if row.status in WITHOUT_SCORE else 0
    return 1 + place, 0.0, row.length


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def _style(row: Row, table: Table) -> str:
    if row == table.best:
        return "bold green"
    return "italic" if row.is_baseline else "" if row.balanced_accuracy is not None else "dim"


def _terminal_cells(row: Row) -> list[str]:
    label = "" if row.is_baseline else row.label
    if row.balanced_accuracy is None:
        return [row.chain, label, row.status, *[""] * 3]
    return [
        row.chain,
        label,
        f"{number(row.balanced_accuracy)} ({row.ci_low or 0:.1f}–{row.ci_high or 0:.1f})",
        number(row.delta, signed=True),
        yes_no(row.better_than_scratch),
        yes_no(row.better_than_imagenet),
    ]


def _caption(table: Table) -> "Text | None":
    from rich.text import Text

    lines = [
        f"{row.chain}: {row.status}, {row.reason}"
        for row in table.rows
        if row.status in ("failed", "not run") and row.reason
    ]
    pruned = sum(row.status == "pruned" for row in table.rows)
    lines += [f"{pruned} chains pruned, never trained"] if pruned else []
    edges = sum("*" in row.lrs + row.downstream_lr for row in table.scored)
    lines += (
        [f"{edges} rows chose a rate on the edge of its range: see the report"] if edges else []
    )
    return Text("\n".join(lines)) if lines else None
