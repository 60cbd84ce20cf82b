"""Does successive halving choose the rate that the full range would, and at what price?

    python tests/benchmarks/lr_policies.py watch --out demo.json             # drawn images
    python tests/benchmarks/lr_policies.py watch --data PATH --out real.json # as ISIC-2019's
    python tests/benchmarks/lr_policies.py table demo.json real.json
    python tests/benchmarks/lr_policies.py settle --data PATH real.json      # what a miss costs

`watch` trains every rate of every stage's range to the end of its trial, with the policy's own
code, and notes the scores on the way: one run shows what every schedule of rungs would have chosen.
The stages are those of all chains up to three tasks, and the fine-tuning of those up to two.
`table` compares schedules; `settle` trains both choices in full where the policy's own differs,
fine-tunes them and adds the accuracies to the file. Measured results: lr_policies.md.
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
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search import hardware  # noqa: E402
from search.chain import name, parse  # noqa: E402
from search.plan import Plan, data_spec  # noqa: E402
from search.proposal import Proposal  # noqa: E402
from search.space import load  # noqa: E402
from trainables import lr_range  # noqa: E402
from trainables.cache import Prepared, open_cache, prepare  # noqa: E402
from trainables.downstream.finetune import finetune  # noqa: E402
from trainables.loop import SCORE  # noqa: E402
from trainables.lr_range import Advance, Drop  # noqa: E402
from trainables.spec import LRPolicy, Runtime, Training  # noqa: E402
from trainables.stage import train_stage  # noqa: E402

PARTS = 8  # of a trial; scores are noted at the end of each
LEAF = 3  # tasks of a chain that nothing is trained from, so only its range is watched
CLOSE = 0.3  # points downstream that count as the same
Scores = dict[str, list[float]]  # rate -> score at each part
seen: dict[int, dict[float, float]] = {}


def watched(policy: LRPolicy, steps: int, advance: Advance, drop: Drop) -> float:
    """The full range, with looks on the way; every rate sees what it would see under any policy."""
    for part in range(1, PARTS + 1):
        until = max(2, round(steps * part / PARTS))
        seen[part] = {rate: advance(rate, until) for rate in policy.range}
        runs = advance.__self__.progress.runs  # type: ignore[attr-defined]
        for rate in policy.range:  # of a fine-tuning `advance` gives the best look so far
            seen[part][rate] = runs[f"{rate:g}"].rows[-1].get(SCORE, seen[part][rate])
    for rate in policy.range:
        drop(rate)
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
        proposal = Proposal(parse(chain))
        spec, parent = self.plan.stages(proposal)[-1], proposal.parent()
        start = self.folder(str(parent)) if parent else None
        spec = replace(spec, training=change(spec.training))
        train_stage(spec, self.runtime, self.data, start, self.folder(out), lambda _: None)

    def score(self, start: str, out: str, change: Callable[[Training], Training]) -> float:
        spec = self.plan.downstream(Proposal(("scratch",)))
        spec = replace(spec, training=change(spec.training), probes=False)
        result = finetune(
            spec, self.runtime, self.data, self.folder(start), self.folder(out), lambda _: None
        )
        return float(result["balanced_accuracy"])


@cache
def bench(data: Path | None, seed: int, work: Path) -> Bench:
    torch.set_num_threads(1)
    return Bench(data, seed, work)


def watch_one(data: Path | None, work: Path, job: tuple[int, str, str]) -> dict[str, Any]:
    """job: seed, chain, "stage" or "score"."""
    seed, chain, what = job
    here = bench(data, seed, work)

    def change(training: Training) -> Training:
        leaf = what == "stage" and len(parse(chain)) == LEAF
        lr = replace(training.lr, name="watched")
        return replace(training, lr=lr, epochs=0.01 if leaf else training.epochs)

    seen.clear()
    if what == "stage":
        here.stage(chain, chain, change)
        task, full = chain.rpartition(">")[2], here.plan.space.profile.epochs
        trial = here.plan.space.profile.lr_epochs
    else:
        here.score(chain, f"{chain} score", change)
        task, full = "fine-tuning", here.plan.space.profile.downstream_epochs
        trial = here.plan.space.profile.downstream_lr_epochs
    scores = {f"{rate:g}": [seen[part][rate] for part in sorted(seen)] for rate in seen[PARTS]}
    found = {"seed": seed, "chain": chain, "task": task, "epochs": full, "trial": trial}
    return found | {"scores": scores}


def watch(data: Path | None, seeds: Sequence[int], out: Path) -> None:
    found: list[dict[str, Any]] = []
    chains = load("isic3", ["data=demo"]).chains()
    with tempfile.TemporaryDirectory() as work, ProcessPoolExecutor() as pool:
        for seed in seeds:
            bench(data, seed, Path(work))
        one = partial(watch_one, data, Path(work))
        for length in range(1, LEAF + 1):
            these = [name(chain) for chain in chains if len(chain) == length]
            jobs = [(seed, chain, "stage") for seed in seeds for chain in these]
            for row in pool.map(one, jobs):
                found.append(row)
                print(row, flush=True)
            if length < LEAF:
                for row in pool.map(one, [(s, c, "score") for s, c, _ in jobs]):
                    found.append(row)
                    print(row, flush=True)
            out.write_text(json.dumps(found, indent=1))


def choose(scores: Scores, rungs: Sequence[tuple[int, int]], only: Sequence[str]) -> str:
    """rungs: after which part, how many go on."""
    alive = sorted(only, key=float)
    for part, left in rungs:
        ranked = sorted(alive, key=lambda rate: (-scores[rate][part - 1], float(rate)))
        alive = sorted(ranked[:left], key=float)
    return alive[0]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("watch",))
    parser.add_argument("--data", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    watch(args.data, args.seeds, args.out)
