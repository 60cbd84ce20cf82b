"""Does successive halving choose the rate that the full range would, and at what price?

    python tests/benchmarks/lr_policies.py watch --out demo.json --seeds 0 1   # drawn images
    python tests/benchmarks/lr_policies.py watch --data PATH --longest 2 --out real.json   # ISIC's
    python tests/benchmarks/lr_policies.py table demo.json real.json

`watch` trains every rate of every stage's range to the end of its trial, with the loop's own code,
and notes the scores on the way: one run shows what every schedule of rungs would have chosen. The
stages are those of all chains up to three tasks, and the fine-tuning of those up to two. `table`
compares schedules. Measured results: lr_policies.md.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search.chains.chain import Chain  # noqa: E402
from search.chains.images import data_spec  # noqa: E402
from search.chains.node import Node  # noqa: E402
from search.chains.plan import Plan  # noqa: E402
from search.space import hardware, load  # noqa: E402
from trainables.images.cache import Prepared, open_cache, prepare  # noqa: E402
from trainables.kinds.classify import finetune  # noqa: E402
from trainables.kinds.pretext import train_stage  # noqa: E402
from trainables.spec import LRPolicy, Runtime, Training  # noqa: E402
from trainables.training import lr_range  # noqa: E402
from trainables.training.loop import SCORE  # noqa: E402
from trainables.training.lr_range import Advance, Forget  # noqa: E402

PARTS = 8  # of a trial; scores are noted at the end of each
LEAF = 3  # tasks of a chain that nothing is trained from, so only its range is watched
TUNING = "fine-tuning"
Row = dict[
    str, Any
]  # seed, chain, task, epochs, trial, scores: rate -> one at the end of each part
Rungs = Callable[[int], Sequence[tuple[int, int]]]  # rates -> after which part, how many go on
seen: dict[int, dict[float, float]] = {}


def watched(policy: LRPolicy, steps: int, advance: Advance, forget: Forget) -> float:
    """The full range, with looks on the way; every rate sees what it would see under any policy."""
    for part in range(1, PARTS + 1):
        until = max(2, round(steps * part / PARTS))
        seen[part] = {rate: advance(rate, until) for rate in policy.range}
        runs = advance.__self__.runs.by_name  # type: ignore[attr-defined]
        for rate in policy.range:  # of a fine-tuning `advance` gives the best look so far
            seen[part][rate] = runs[f"{rate:g}"].rows[-1].get(SCORE, seen[part][rate])
    for rate in policy.range:
        forget(rate)
    return max(sorted(seen[PARTS]), key=seen[PARTS].__getitem__)


lr_range.POLICIES["watched"] = watched


class Bench:
    """One space on one data set; made anew in every process."""

    def __init__(self, data: Path | None, seed: int, work: Path) -> None:
        chosen = [] if data else ["data=demo", "profile=demo"]
        space = hardware.resolve(load("isic3", [*chosen, f"seed={seed}"]), 0)
        self.data: Prepared = open_cache(prepare(data_spec(space), data, work / "cache"))
        self.plan, self.work = Plan(space, self.data.digest), work / str(seed)
        self.runtime = Runtime(threads=1, log_every=10, checkpoint_seconds=1e9)

    def folder(self, what: str) -> Path:
        path = self.work / what.replace(">", "+")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def stage(self, chain: str, out: str, change: Callable[[Training], Training]) -> None:
        node = Node(Chain.parse(chain))
        spec, parent = self.plan.stages(node)[-1], node.parent()
        start = self.folder(str(parent)) if parent else None
        spec = replace(spec, training=change(spec.training))
        train_stage(spec, self.runtime, self.data, start, self.folder(out), lambda _: None)

    def score(self, start: str, out: str, change: Callable[[Training], Training]) -> float:
        spec = self.plan.score(Node.parse("scratch"))
        spec = replace(spec, training=change(spec.training), probes=False)
        result = finetune(
            spec, self.runtime, self.data, self.folder(start), self.folder(out), lambda _: None
        )
        return result.score.value


@cache
def bench(data: Path | None, seed: int, work: Path) -> Bench:
    torch.set_num_threads(1)
    return Bench(data, seed, work)


def watch_one(data: Path | None, work: Path, job: tuple[int, str, str]) -> Row:
    """job: seed, chain, "stage" or "score"."""
    seed, chain, what = job
    here = bench(data, seed, work)

    def change(training: Training) -> Training:
        leaf = what == "stage" and len(Chain.parse(chain).tasks) == LEAF
        lr = replace(training.lr, name="watched")
        return replace(training, lr=lr, steps=1 if leaf else training.steps)

    seen.clear()
    if what == "stage":
        here.stage(chain, chain, change)
        task, full = chain.rpartition(">")[2], here.plan.space.profile.steps
        trial = here.plan.space.profile.lr_steps
    else:
        here.score(chain, f"{chain} score", change)
        task, full = TUNING, here.plan.space.profile.downstream_steps
        trial = here.plan.space.profile.downstream_lr_steps
    scores = {f"{rate:g}": [seen[part][rate] for part in sorted(seen)] for rate in seen[PARTS]}
    found = {"seed": seed, "chain": chain, "task": task, "steps": full, "trial": trial}
    return found | {"scores": scores}


def watch(data: Path | None, seeds: Sequence[int], longest: int, out: Path) -> None:
    found: list[Row] = []
    chains = load("isic3", ["data=demo"]).chains()
    with tempfile.TemporaryDirectory() as work, ProcessPoolExecutor() as pool:
        for seed in seeds:
            bench(data, seed, Path(work))
        one = partial(watch_one, data, Path(work))
        for length in range(1, longest + 1):
            these = [str(chain) for chain in chains if len(chain.tasks) == length]
            jobs = [(seed, chain, "stage") for seed in seeds for chain in these]
            for row in pool.map(one, jobs):
                found.append(row)
                print(row, flush=True)
            if length < LEAF:
                for row in pool.map(one, [(s, c, "score") for s, c, _ in jobs]):
                    found.append(row)
                    print(row, flush=True)
            out.write_text(json.dumps(found, indent=1))


def table(rows: Sequence[Row]) -> None:
    """Same choice as the full range's, and what the policy adds to the training itself."""
    stages = [row for row in rows if row["task"] != TUNING]
    tuning = [row for row in rows if row["task"] == TUNING]
    for what, some, centred in (
        ("stages, whole range", stages, False),
        ("stages, centred by the single's choice", stages, True),
        ("fine-tuning", tuning, False),
    ):
        print(f"\n{what}: {len(some)}")
        for name_, rungs in SCHEDULES.items():
            chosen = [decide(row, rows, rungs, centred) for row in some]
            same = sum(rate == best(row) for row, (rate, _) in zip(some, chosen, strict=True))
            extra = fmean(
                cost * row["trial"] / row["steps"]
                for row, (_, cost) in zip(some, chosen, strict=True)
            )
            share = f"{same} of {len(some)} the same ({100 * same / len(some):.0f} %)"
            print(f"  {name_:22} {share}, {100 * extra:.1f} % extra")
            for row, (rate, _) in zip(some, chosen, strict=True):
                if name_ == "halving" and rate != best(row):
                    print(f"      {row['chain']} seed {row['seed']}: {rate}, not {best(row)}")


def decide(row: Row, rows: Sequence[Row], rungs: Rungs, centred: bool) -> tuple[str, float]:
    """The rate that the schedule chooses, and how many whole trials it takes."""
    only = sorted(row["scores"], key=float)
    if centred and ">" in row["chain"]:
        single = next(
            r for r in rows if r["chain"] == row["task"] == r["task"] and r["seed"] == row["seed"]
        )
        middle = decide(single, rows, rungs, False)[0]
        only = [f"{rate:g}" for rate in near(tuple(map(float, only)), float(middle))]
    alive, looks, cost = only, [0], 0.0
    for part, left in rungs(len(only)):
        cost += len(alive) * (part - looks[-1]) / PARTS
        looks = [*looks, part] if row["task"] == TUNING else [part]  # the best look so far counts
        best_of = {r: max(row["scores"][r][look - 1] for look in looks if look) for r in alive}
        alive = sorted(sorted(alive, key=lambda r: (-best_of[r], float(r)))[:left], key=float)
    return alive[0], cost


def near(rates: tuple[float, ...], chosen: float) -> tuple[float, ...]:
    """Return the chosen rate and the two nearest to it: what the search once tried later on."""
    first = max(min(rates.index(chosen) - 1, len(rates) - 3), 0)
    return rates[first : first + 3]


def best(row: Row) -> str:
    """The full range's choice."""
    return max(sorted(row["scores"], key=float), key=lambda rate: row["scores"][rate][-1])


def by_halves(rates: int) -> list[tuple[int, int]]:
    return [(2, 2), (4, 1)] if rates > 3 else [(4, 1)]


SCHEDULES: dict[str, Rungs] = {
    "halving": lambda rates: lr_range.rungs(rates, PARTS),
    "half at 1/4, at 1/2": by_halves,
    "half at 1/2, then all": lambda rates: [(4, 2), (8, 1)],
    "full range": lambda rates: [(8, 1)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Successive halving against the full range.")
    parser.add_argument("what", choices=("watch", "table"))
    parser.add_argument("files", type=Path, nargs="*", help="of `watch`, for `table`")
    parser.add_argument("--data", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--longest", type=int, default=LEAF, metavar="N", help="chains watched")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    if args.what == "watch":
        watch(args.data, args.seeds, args.longest, args.out)
    for file in args.files:
        print(f"\n{file.name}")
        table(json.loads(file.read_text()))


if __name__ == "__main__":
    main()
