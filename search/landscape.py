"""Synthetic tables of chain scores, for comparing policies.

    python search/landscape.py relative_location moco odc --seed 7 > table.csv
    python search/replay.py --space isic3 --table table.csv --policy adaptive

The true score of a chain that ends in task t, after parent chain p (none for a single):

    true(chain) = CENTRE + last·own[t] + pair·fit[end of p, t] + curriculum·label(chain)
                  + keep[t]·(true(p) - CENTRE) + rest·luck[chain]

own, fit and luck are standard normal numbers; label is +1 if the true single scores rise all along
the chain (C), -1 if they fall (AC), else 0. Forgetting: keep[t] is uniform from 0 to twice
1 - forgetting, capped at 1, so some tasks overwrite their parent's effect and others build on it.
The observed score is the true score plus a normal evaluation error of sd `noise`, from which the
interval is computed. The defaults imitate the published ISIC-2019 table: its scores have an sd of
3.6 points, and the last task explains 86 % of the variance of the longer chains (here about 3
points and 70 % on average, varying widely as small tables do).
"""

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.chains.chain import Chain, enumerate_chains, label
from search.console.printable import printable
from trainables.errors import UserError
from trainables.spec import MeasureType, Score

SCORE = MeasureType("score", "score")
CENTRE = 70.0
SIDE = {"C": 1.0, "AC": -1.0}
Z95 = 1.96  # half the width of a 95 % interval, in sd


@dataclass(frozen=True)
class Effects:
    """The size of each effect in percentage points; `forgetting` is a fraction."""

    last: float = 3.0
    pair: float = 1.0
    curriculum: float = 1.0
    forgetting: float = 0.7
    rest: float = 0.5
    noise: float = 0.7


@dataclass(frozen=True)
class Landscape:
    """The true score of every chain, and the score that an evaluation observes."""

    true: Mapping[Chain, float]
    observed: Mapping[Chain, Score]


def draw(
    tasks: Sequence[str], seed: int, effects: Effects | None = None, max_length: int | None = None
) -> Landscape:
    """Draw a landscape, reproducible in any process.

    effects: sizes in percentage points. max_length: tasks in a chain, None for all.
    """
    size, rng = effects or Effects(), np.random.default_rng(seed)
    chains = list(enumerate_chains(tasks, max_length or len(tasks)))
    own = dict(zip(tasks, rng.standard_normal(len(tasks)), strict=True))
    fit = {pair: rng.standard_normal() for pair in permutations(tasks, 2)}
    most = 2 * (1 - size.forgetting)
    keep = {task: min(1.0, most * rng.random()) for task in tasks}
    luck, error = rng.standard_normal((2, len(chains)))
    true: dict[Chain, float] = {}
    for chain, own_luck in zip(chains, luck, strict=True):
        value = CENTRE + size.last * own[chain.tasks[-1]] + size.rest * own_luck
        if len(chain.tasks) > 1:
            before, last = chain.tasks[-2:]
            value += size.pair * fit[before, last]
            value += size.curriculum * SIDE.get(label(chain, true), 0.0)
            value += keep[last] * (true[chain.parent] - CENTRE)
        true[chain] = float(value)
    half = Z95 * size.noise
    seen = {c: true[c] + size.noise * float(e) for c, e in zip(chains, error, strict=True)}
    return Landscape(true, {c: SCORE.score(v, v - half, v + half) for c, v in seen.items()})


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="search/landscape.py", description="Draw a table of chain scores, as CSV to stdout."
    )
    parser.add_argument("tasks", nargs="+", metavar="TASK", help="names, as in your space")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    for field in fields(Effects):
        parser.add_argument(f"--{field.name}", type=float, default=field.default, metavar="X")
    args = parser.parse_args(argv)
    try:
        effects = Effects(**{field.name: getattr(args, field.name) for field in fields(Effects)})
        _check(args.tasks, args.seed, effects)
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return 2
    landscape = draw(args.tasks, args.seed, effects)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["chain", SCORE.name, "ci_low", "ci_high", "true"])
    for chain, score in landscape.observed.items():
        seen = (score.value, score.low, score.high, landscape.true[chain])
        writer.writerow([str(chain), *(f"{value:.3f}" for value in seen)])
    return 0


def _check(tasks: Sequence[str], seed: int, effects: Effects) -> None:
    if len(set(tasks)) < len(tasks) or not 2 <= len(tasks) <= 7:
        raise UserError(
            f"TASK={' '.join(tasks)}: must be 2 to 7 different names; try odc moco rotation"
        )
    if seed < 0:
        raise UserError(f"--seed={seed}: must be 0 or more; try 0")
    for field in fields(Effects):
        value = getattr(effects, field.name)
        if not (0 <= value <= 1 if field.name == "forgetting" else 0 <= value < float("inf")):
            allowed = "0 to 1" if field.name == "forgetting" else "a number, 0 or more"
            raise UserError(f"--{field.name}={value:g}: must be {allowed}; try {field.default:g}")


if __name__ == "__main__":
    sys.exit(main())
