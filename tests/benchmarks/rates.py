"""Which judge chooses the better learning rate? Compared by what is fine-tuned from its choice.

    python tests/benchmarks/rates.py --data PATH --out DIR --tasks moco --seeds 0,1,2    # resumes
    python tests/benchmarks/rates.py --out DIR profile=demo                    # drawn images
    python tests/benchmarks/rates.py --out DIR profile.steps=4000 ...          # as of a search

Every rate of a task's range is trained to the end of its trial, at a constant rate after warm-up
and with a cosine to zero, and judged at every rung by all judges. Each rate that some judge chooses
is then trained in full, and fine-tuned at the middle rate of the downstream range. Seeds are
repeats: they share the split, not images with labels, batches or weights. Finished parts are files
in DIR; what is killed goes on from its checkpoint. Other overrides need another DIR. Measured
results: recipes.md.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

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
from trainables.spec import LRPolicy, Runtime, StageSpec  # noqa: E402
from trainables.training import frozen, lr_range, optimisers  # noqa: E402
from trainables.training.frozen import KNN, MACRO_AUROC, RANKME  # noqa: E402
from trainables.training.lr_range import Advance, Forget  # noqa: E402

Row = Mapping[str, float]  # what all judges say of a rate at one rung
Trials = Mapping[str, Mapping[str, Row]]  # by rate and step
MEASURES = ("balanced_accuracy", MACRO_AUROC)
SCHEDULES = ("constant", "cosine")
COLLAPSED = frozen.COLLAPSED
RUNTIME = Runtime(threads=1, log_every=10, checkpoint_seconds=60)


def guarded(row: Row) -> float:
    return row[MACRO_AUROC] if row[RANKME] >= COLLAPSED * row["start"] else -float("inf")


JUDGES: dict[str, Callable[[Row], float]] = {
    "pretext score": lambda row: row["pretext"],
    "frozen probe, guarded by RankMe": guarded,
    "frozen probe": lambda row: row[MACRO_AUROC],
    "frozen kNN": lambda row: row[KNN],
}
CHOICES = [*((judge, "halving") for judge in JUDGES), ("pretext score", "full_range")]


class Watched(Exception):
    """Ends a stage after its trials, with what all judges say."""


def watched(policy: LRPolicy, steps: int, advance: Advance, _: Forget) -> tuple[float, float]:
    """Train every rate to its end, judged at every rung."""
    loop = advance.__self__  # type: ignore[attr-defined]
    score = loop.make(replace(loop.context, steps=steps)).score
    found: dict[str, dict[str, Row]] = {}
    for until, _ in lr_range.rungs(len(policy.range), steps):
        for rate in policy.range:
            advance(rate, until)
            run = loop.runs.by_name[f"{rate:g}"]
            told = {row["step"]: row for row in run.probes}
            if until in told and not run.failed:
                own = {"pretext": score(run.history[:until]), "start": told[0][RANKME]}
                found.setdefault(f"{rate:g}", {})[f"{until}"] = {**told[until], **own}
    raise Watched(found)


@dataclass(frozen=True)
class Cell:
    """One task and seed of one space on one data set."""

    overrides: tuple[str, ...]
    data: Path | None
    out: Path
    task: str
    seed: int

    def prepared(self) -> tuple[Plan, Prepared]:
        space = hardware.resolve(load("isic3", [*self.overrides, "lr_judge=probe"]), 0)
        data = open_cache(prepare(data_spec(space), self.data, self.out / "cache"))
        return Plan(space, data.digest, count=len(data.split["train"])), data

    def file(self, name: str) -> Path:
        return self.out / f"{self.task}-{self.seed}-{name}.json"

    def folder(self, name: str) -> Path:
        path = self.out / f"{self.task}-{self.seed}-{name}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def run(self) -> None:
        torch.set_num_threads(1)
        plan, data = self.prepared()
        node = Node(Chain((self.task,))).again(self.seed)
        stage = plan.stages(node)[-1]
        for schedule in SCHEDULES:
            self._watch(stage, data, schedule)
        for rate in sorted({rate for _, _, rate in self.chosen()}):
            self._train(stage, plan.score(node), data, rate)

    def _watch(self, stage: StageSpec, data: Prepared, schedule: str) -> None:
        if self.file(schedule).exists():
            return
        factor = optimisers.factor
        as_said = {"constant": factor, "cosine": lambda *given: factor(*given[:3])}[schedule]
        lr = replace(stage.trained.lr, name="watched", grow=0)
        spec = replace(stage, training=replace(stage.trained, lr=lr))
        with (
            mock.patch.dict(lr_range.POLICIES, watched=watched),
            mock.patch.object(optimisers, "factor", as_said),
            mock.patch.object(frozen, "COLLAPSED", 0.0),
        ):
            try:
                train_stage(spec, RUNTIME, data, None, self.folder(schedule), quiet, data)
            except Watched as done:
                self.file(schedule).write_text(json.dumps(done.args[0]))

    def chosen(self) -> Iterator[tuple[str, str, float]]:
        """Yield what is chosen: schedule, judge, rate."""
        for schedule in SCHEDULES:
            trials = json.loads(self.file(schedule).read_text())
            for judge, policy in CHOICES:
                yield schedule, f"{judge}, {policy}", choice(trials, JUDGES[judge], policy)

    def _train(self, stage: StageSpec, score: StageSpec, data: Prepared, rate: float) -> None:
        if self.file(f"{rate:g}").exists():
            return
        made, tuned = self.folder(f"{rate:g}"), self.folder(f"{rate:g}-score")
        train_stage(at(stage, rate), RUNTIME, data, None, made, quiet, data)
        rates = score.trained.lr.range
        done = finetune(at(score, rates[len(rates) // 2]), RUNTIME, data, made, tuned, quiet)
        assert done.score
        found = {name: done.score.measures[name].value for name in MEASURES}
        probes = json.loads((made / "history.json").read_text())["probes"]
        self.file(f"{rate:g}").write_text(json.dumps(found | {"probes": probes}))

    def value(self, rate: float, measure: str) -> float:
        found: float = json.loads(self.file(f"{rate:g}").read_text())[measure]
        return found


def quiet(_: Any) -> None:
    """Report nothing."""


def at(spec: StageSpec, rate: float) -> StageSpec:
    lr = replace(spec.trained.lr, range=(rate,))
    return replace(spec, training=replace(spec.trained, lr=lr))


def choice(trials: Trials, judge: Callable[[Row], float], policy: str) -> float:
    """Return the rate that the judge chooses by these scores."""
    rates = sorted(map(float, trials))
    steps = max(int(step) for one in trials.values() for step in one)

    def advance(rate: float, until: int) -> float:
        known = trials[f"{rate:g}"].get(f"{until}")
        return judge(known) if known else -float("inf")

    return lr_range.choose(LRPolicy(tuple(rates), steps, policy), steps, advance, quiet)


def table(cells: list[Cell]) -> None:
    """Print what every judge's choices were worth, as Markdown."""
    print("| task | trial | judge | chosen | balanced accuracy | macro AUROC |")
    print("| --- | --- | --- | --- | ---: | ---: |")
    for task in dict.fromkeys(cell.task for cell in cells):
        own = [cell for cell in cells if cell.task == task]
        for picks in zip(*(cell.chosen() for cell in own), strict=True):
            rates = [rate for _, _, rate in picks]
            means = [
                fmean(cell.value(rate, name) for cell, rate in zip(own, rates, strict=True))
                for name in MEASURES
            ]
            chosen = ", ".join(f"{rate:g}" for rate in rates)
            values = " | ".join(f"{mean:.2f}" for mean in means)
            print(f"| {task} | {picks[0][0]} | {picks[0][1]} | {chosen} | {values} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True)
    parser.add_argument("--tasks", default="moco,relative_location", metavar="NAME,...")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,...")
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side, one core each")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    demo = () if args.data else ("data=demo",)
    overrides = (*demo, *args.overrides)
    cells = [
        Cell(overrides, args.data, args.out, task, seed)
        for task in args.tasks.split(",")
        for seed in map(int, args.seeds.split(","))
    ]
    cells[0].prepared()  # decoded once
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:  # torch has threads
        list(pool.map(Cell.run, cells))
    table(cells)


if __name__ == "__main__":
    main()
