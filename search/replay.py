"""Replay a policy against a table of known results: what would it find, in how many stages?

python search/replay.py --space isic3 --table runs/isic3-mine/report/chains.csv --policy adaptive
python search/replay.py --space isic3 --table table.csv --policy tpe --seed 3 --budget 9 --json

The table is a CSV file with a column `chain` and a score; the policy also gets its intervals
(`ci_low`, `ci_high`), if any. Chains without a score can't be tried, whatever their start
(`imagenet:moco>odc`). Nothing is trained.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.chains.chain import SCRATCH, Chain, prefixes, stages_shared
from search.console.printable import printable
from search.policies import chosen, policy_of
from search.report.known import read
from search.space import Space, load
from search.space.schema import Start
from trainables.errors import UserError
from trainables.plugins import one_of
from trainables.spec import Score

DONE, BAD_INPUT = 0, 2


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
        usual, starts = space.downstream.objective, [*space.starts]
        table = read(Path(args.table), usual, args.column, starts, [*space.tasks])
        found = replay(space, table.scores)
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


def _space(args: argparse.Namespace) -> Space:
    given = {"seed": args.seed, "budget": args.budget}
    values = [f"{key}={value}" for key, value in given.items() if value is not None]
    # a replay takes no time: the profile's night is no limit, the user's is an error
    space = load(args.space, ["budget=null", *args.overrides, *chosen(args.policy), *values])
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
