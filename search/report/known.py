"""A table of known results: chains with a score, baselines, and rows of the literature.

    found = read(Path("table.csv"), "accuracy", starts=["scratch", "imagenet"])
    found.scores[Chain.parse("odc>moco")].value, found.others["imagenet"], found.objective.name

The table is a CSV file with a column `chain` and a score, such as a report's chains.csv. Rows whose
`label` is `baseline` or `literature` (a challenge's winner) are no chains, nor are those of starts.
"""

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.chains.chain import SCRATCH, Chain, repeats_a_task
from search.report.rows import BASELINE
from trainables.downstream.measures import MEASURES
from trainables.errors import UserError
from trainables.plugins import near, one_of, unknown
from trainables.schema import shown
from trainables.spec import MeasureType, Score

LITERATURE = "literature"  # in the label's column
LENGTH = "length"  # a column of a search's table: how many tasks a chain has
Cells = Mapping[str, str]
Line = tuple[int, Cells]  # its number in the file, and the row


@dataclass(frozen=True)
class Known:
    """What a table says. objective: the column of the score. others: rows that are no chains.

    cells: every row used, by `str(chain)` or the name in `others`.
    """

    objective: MeasureType
    scores: Mapping[Chain, Score]
    others: Mapping[str, float]
    cells: Mapping[str, Cells]


def read(
    path: Path,
    usual: str,
    column: str | None = None,
    starts: Collection[str] = (SCRATCH,),
    tasks: Collection[str] = (),
    where: str = "--table",
) -> Known:
    """Read a table; UserError names a bad row.

    starts: names of baselines; those before a `:` in the table are others. column: by default
    `usual`, if the table has it, else the first numeric one. Higher is better, unless a downstream
    task declares it otherwise. tasks: a name that is none of them, joins none and is like none is
    of the literature; (): every name without a label is a chain. where: the setting that names
    the file.
    """
    rows, header = _rows(path, where)
    known = {*starts, *(row["chain"].rpartition(":")[0].strip() for _, row in rows)} - {""}
    others, chains = list[Line](), list[Line]()
    for one in rows:
        (others if _is_other(one[1], known, tasks) else chains).append(one)
    column = _column(path, chains, header, column, usual)
    objective = MEASURES.get(column, MeasureType(column, column))
    scores = dict[Chain, Score]()
    cells = {row["chain"].strip(): row for _, row in others}
    for line, row in chains:
        score = _score(f"{path}, row {line}", row, column, objective)
        if score is None:
            continue
        chain = _chain(f"{path}, row {line}", row, known, tasks)
        if repeats_a_task(chain):
            continue  # a control of the search that wrote the table
        if chain in scores:
            raise UserError(
                f"{path}, row {line}: must not repeat the chain of a row above ({chain}); try one "
                "row a chain"
            )
        scores[chain], cells[str(chain)] = score, row
    if not scores:
        raise UserError(
            f"{path}: must have a number in the column {column} for at least one chain; "
            "try another column"
        )
    values = {
        row["chain"].strip(): _number(f"{path}, row {line}", row, column) for line, row in others
    }
    told = {name: value for name, value in values.items() if value is not None}
    return Known(objective, scores, told, cells)


def _is_other(row: Cells, starts: Collection[str], tasks: Collection[str]) -> bool:
    """Return whether a row is no chain: a baseline, or a result of the literature."""
    name, label = row["chain"].strip(), row.get("label", "").strip()
    if name in starts or label in (BASELINE, LITERATURE):
        return True
    task = name.rpartition(":")[2].strip()
    return bool(tasks) and ">" not in task and task not in tasks and not near(task, [*tasks])


def _chain(where: str, row: Cells, starts: Collection[str], tasks: Collection[str]) -> Chain:
    try:
        chain = Chain.parse(row["chain"], starts)
    except UserError as error:
        said = f"{where}: {error}"
        raise UserError(said) from None
    for task in chain.tasks if tasks else ():
        if task not in tasks:
            said = f"{where}: chain={chain}: {one_of(task, list(tasks))}"
            if len(chain.tasks) == 1:
                said += f", or {LITERATURE} in the column label"
            raise UserError(said)
    return chain


def _score(where: str, row: Cells, column: str, objective: MeasureType) -> Score | None:
    if (value := _number(where, row, column)) is None:
        return None
    ends = [_number(where, row, end) for end in ("ci_low", "ci_high")]
    low, high = (value if end is None else end for end in ends)
    return objective.score(value, low, high)


def _rows(path: Path, where: str) -> tuple[list[Line], Sequence[str]]:
    """Return the rows with line numbers, and the header; no cell is None."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            header = [key.strip() for key in reader.fieldnames or ()]
            reader.fieldnames = header
            rows: list[Line] = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{where}={path}: must be a CSV file ({reason}); try FILE.csv") from None
    if "chain" not in header:
        raise UserError(
            f"{path}: must have the column chain in its header ({', '.join(header)}); "
            f"try {near('chain', header) or 'adding it'}"
        )
    return rows, header


def _column(
    path: Path, rows: Sequence[Line], header: Sequence[str], given: str | None, usual: str
) -> str:
    """Return the given column, else the usual one, else the first numeric one."""
    if given is not None:
        if given not in header:
            raise UserError(unknown("--column", given, list(header)))
        return given
    if usual in header:
        return usual
    for column in header:
        if column == LENGTH:  # of the chain, in a search's own table
            continue
        cells = [row[column].strip() for _, row in rows]
        if any(cells) and all(map(_is_number, filter(None, cells))):
            return column
    raise UserError(
        f"{path}: must have a column of numbers among {', '.join(header)}; try adding a score"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(where: str, row: Cells, column: str) -> float | None:
    text = row.get(column, "").strip()
    if not text:
        return None
    if not _is_number(text):
        raise UserError(
            f"{where}, {column}={shown(text)}: must be a number; try leaving it empty if unknown"
        )
    return float(text)
