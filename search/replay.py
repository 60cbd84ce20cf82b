"""Replay a policy against a table of known results: what would it find, in how many stages?

python search/replay.py --space isic3 --table runs/isic3-mine/report/chains.csv --policy adaptive
python search/replay.py --space isic3 --table table.csv --policy tpe --seed 3 --budget 9 --json

The table is a CSV file with a column `chain` and a score; the policy also gets its intervals
(`ci_low`, `ci_high`), if any. Chains without a score can't be tried, whatever their start
(`imagenet:moco>odc`). Nothing is trained.
"""

import argparse
import csv
import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.chains.chain import SCRATCH, Chain, prefixes, repeats_a_task, stages_shared
from search.console.printable import printable
from search.policies import chosen, policy_of
from search.report.rows import BASELINE
from search.space import Space, load
from search.space.schema import Start
from trainables.downstream.measures import MEASURES
from trainables.errors import UserError
from trainables.plugins import near, one_of, unknown
from trainables.schema import shown
from trainables.spec import MeasureType, Score

DONE, BAD_INPUT = 0, 2
Cells = Mapping[str, str]


@dataclass(frozen=True)
class Replay:
    """The result of a replay. regret: points from the score found to the table's best."""

    policy: str
    best_chain: str
    best_score: float
    regret: float
    stages_trained: int
    stages_exhaustive: int  # for all possible chains, each prefix once
    stages_naive: int  # the same without shared prefixes
    order: list[str]


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="search/replay.py",
        description="Run a policy against a table of known results; nothing is trained.",
        epilog="exit status: 0 done, 2 bad input",
    )
    add = parser.add_argument
    add("--space", required=True, metavar="NAME", help="the tasks to use: a file in spaces/")
    add("--table", required=True, metavar="FILE", help="CSV: chain, a score, ci_low and ci_high")
    add("--policy", metavar="NAME", help="a file in search/policies/, or tune:SEARCHER")
    add("--column", metavar="NAME", help="the score (default: the objective, or first numbers)")
    add("--seed", type=int, metavar="N", help="seed of the policy (default: the space's)")
    add("--budget", type=int, metavar="N", help="most stages to spend")
    add("--json", action="store_true", help="print the result as one line of JSON")
    add("overrides", nargs="*", metavar="key=value", help="e.g. policy.params.margin=1")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    try:
        space = _space(args)
        scores = read(Path(args.table), space.downstream.objective, args.column, [*space.starts])
        found = replay(space, scores)
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return BAD_INPUT
    print(json.dumps(asdict(found)) if args.json else _lines(found))
    return DONE


def replay(space: Space, scores: Mapping[Chain, Score]) -> Replay:
    """Run the policy with the table's scores until it is finished; UserError for unknown tasks."""
    _check_tasks(space, scores)
    policy = policy_of(_grown(space, scores), only=scores)
    order = []
    while (node := policy.ask()) is not None:
        policy.tell(node, scores[node.chain])
        order.append(str(node))
    best = policy.best()
    assert best, "a policy tries a single first"
    possible = [
        chain
        for chain in scores
        if len(chain.tasks) <= space.max_length and scores.keys() >= {*prefixes(chain)}
    ]
    return Replay(
        policy=str(space.policy),
        best_chain=str(best.chain),
        best_score=scores[best.chain].value,
        regret=round(max(s.merit for s in scores.values()) - scores[best.chain].merit, 9),
        stages_trained=len(order),
        stages_exhaustive=stages_shared(possible),
        stages_naive=sum(len(chain.tasks) for chain in possible),
        order=order,
    )


def _grown(space: Space, scores: Mapping[Chain, Score]) -> Space:
    """Return the space with chains from the table's starts, which need no weights here."""
    names = [*space.starts, *(chain.start for chain in scores)]
    grown = {chain.start for chain in scores}
    known = {name: replace(Start("table"), chains=name in grown) for name in names}
    return replace(space, starts={**known, SCRATCH: Start(chains=SCRATCH in grown)})


def read(
    path: Path, usual: str, column: str | None = None, starts: Collection[str] = (SCRATCH,)
) -> dict[Chain, Score]:
    """Read the table's scores without baselines and empty rows; UserError names a bad row.

    starts: names of baselines; those before a `:` in the table are others.
    column: by default `usual`, if the table has it, else the first numeric one. Higher is better,
    unless a downstream task declares it otherwise.
    """
    rows, header = _rows(path)
    known = {*starts, *(row["chain"].rpartition(":")[0].strip() for _, row in rows)} - {""}
    rows = [(line, row) for line, row in rows if not _is_baseline(row, known)]
    column = _column(path, rows, header, column, usual)
    objective = MEASURES.get(column, MeasureType(column, column))
    scores: dict[Chain, Score] = {}
    for line, row in rows:
        where = f"{path}, row {line}"
        value = _number(where, row, column)
        if value is None:
            continue
        try:
            chain = Chain.parse(row["chain"], known)
        except UserError as error:
            said = f"{where}: {error}"
            raise UserError(said) from None
        if repeats_a_task(chain):
            continue  # a control of the search that wrote the table
        if chain in scores:
            raise UserError(
                f"{where}: must not repeat the chain of a row above ({chain}); try one row a chain"
            )
        ends = [_number(where, row, end) for end in ("ci_low", "ci_high")]
        low, high = (value if end is None else end for end in ends)
        scores[chain] = objective.score(value, low, high)
    if not scores:
        raise UserError(
            f"{path}: must have a number in the column {column} for at least one chain; "
            "try another --column"
        )
    return scores


def _space(args: argparse.Namespace) -> Space:
    given = {"seed": args.seed, "budget": args.budget}
    values = [f"{key}={value}" for key, value in given.items() if value is not None]
    space = load(args.space, [*args.overrides, *chosen(args.policy), *values])
    if space.budget.worker_seconds is not None:
        raise UserError(
            f"budget={space.budget}: must be stages, since a replay takes no time; try budget=20"
        )
    if space.max_starts is not None:
        raise UserError(
            f"max_starts={space.max_starts}: must be null, since a replay knows no probes of "
            "starts; try max_starts=null"
        )
    return space


def _rows(path: Path) -> tuple[list[tuple[int, Cells]], Sequence[str]]:
    """Return the rows of chains with line numbers, and the header; no cell is None."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            header = [key.strip() for key in reader.fieldnames or ()]
            reader.fieldnames = header
            rows: list[tuple[int, Cells]] = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--table={path}: must be a CSV file ({reason}); try FILE.csv") from None
    if "chain" not in header:
        raise UserError(
            f"{path}: must have the column chain in its header ({', '.join(header)}); "
            f"try {near('chain', header) or 'adding it'}"
        )
    return rows, header


def _is_baseline(row: Cells, starts: Collection[str]) -> bool:
    return row["chain"].strip() in starts or row.get("label", "").strip() == BASELINE


def _column(
    path: Path,
    rows: Sequence[tuple[int, Cells]],
    header: Sequence[str],
    given: str | None,
    usual: str,
) -> str:
    """Return the given column, else the usual one, else the first numeric one."""
    if given is not None:
        if given not in header:
            raise UserError(unknown("--column", given, list(header)))
        return given
    if usual in header:
        return usual
    for column in header:
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


def _check_tasks(space: Space, scores: Mapping[Chain, Score]) -> None:
    for chain in scores:
        for task in chain.tasks:
            if task not in space.tasks:
                line = f"--table, {chain}: {one_of(task, list(space.tasks))}"
                raise UserError(line)
    if not any(len(chain.tasks) == 1 for chain in scores):
        raise UserError(
            f"--table: must have a score for a single ({', '.join(space.tasks)}), as every chain "
            "begins with one; try adding their rows"
        )


def _lines(found: Replay) -> str:
    order = "\n".join(f"  {stage:4} {chain}" for stage, chain in enumerate(found.order, 1))
    return (
        f"{found.policy}: {found.best_chain} {found.best_score:.2f}, "
        f"{found.regret:.2f} behind the table's best\n"
        f"stages: {found.stages_trained} trained, {found.stages_exhaustive} for all chains, "
        f"{found.stages_naive} without shared prefixes\n{order}"
    )


if __name__ == "__main__":
    sys.exit(main())
