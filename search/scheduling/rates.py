"""Rates of this machine: remembered from finished stages, else timed in child processes.

    machine = Machine(host, threads=1, workers=1, gpu=False)
    rates = remembered(Path("runs/store"), specs, machine)      # by `subject`
    missing = [spec for spec in specs if subject(spec) not in rates]
    timed(missing, machine, beside=2)                           # as many at once as worker groups

A rate belongs to a host, its kind of device, the threads and workers of a worker group, a task, and
all that a profile says of a step (`subject`). A stage in a worker group on two cores has trained
beside another one, and its seconds show that; so ten steps are timed side by side, too.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, TypeAlias

from search.cluster.environment import EVERYWHERE
from search.scheduling.work import Rate, work
from search.store import sealing
from search.store.sealing import Damaged, Manifest
from trainables.spec import PRETEXT, DataSpec, KnownData, LRPolicy, StageSpec, Training

if TYPE_CHECKING:
    from trainables.timing import Timed

EVALUATION = 0.25  # cost of evaluating an image, where that of a training image is 1
SECONDS = 180  # of ten steps of every task, at most
SIDE_BY_SIDE = 8  # children at most
Subject: TypeAlias = tuple[object, ...]
Rates: TypeAlias = Mapping[Subject, Rate]


@dataclass(frozen=True)
class Machine:
    """Where the stages train. host: None for any. threads: CPU threads a worker."""

    host: str | None
    threads: int
    workers: int
    gpu: bool

    def trained(self, manifest: Manifest) -> bool:
        """Return whether the stage was trained on such a machine."""
        result = manifest["result"]
        return (
            self.host in (None, manifest["host"])
            and "images" in result
            and (manifest["device"] != "cpu") == self.gpu
            and (result.get("threads"), result.get("workers")) == (self.threads, self.workers)
        )


def subject(spec: StageSpec) -> Subject:
    """Return what decides the seconds of a step: the task and the profile's sizes."""
    training = spec.training
    if training is None:
        return spec.kind, spec.name, spec.params.get("backbone"), spec.params.get("image_size")
    return (
        spec.kind, spec.name, training.backbone, training.image_size, training.global_batch,
        training.precision,
    )  # fmt: skip


def remembered(store: Path, specs: Iterable[StageSpec], machine: Machine) -> dict[Subject, Rate]:
    """Return the median rate of the store's finished stages, where it has any."""
    wanted = {subject(spec): spec.name for spec in specs}
    found: dict[Subject, list[Rate]] = defaultdict(list)
    for manifest in _manifests(store, set(wanted.values())):
        if machine.trained(manifest):
            spec = parsed(manifest["spec"])
            if spec and subject(spec) in wanted and (rate := rate_of(spec, manifest)):
                found[subject(spec)].append(rate)
    return {known: _middle(rates) for known, rates in found.items()}


def parsed(plain: Mapping[str, Any]) -> StageSpec | None:
    """Return a specification as a manifest holds it; None for one of another version."""
    try:
        training, data = plain["training"], plain["data"].items()
        lr = training and LRPolicy(**{**training["lr"], "range": tuple(training["lr"]["range"])})
        known = {role: KnownData(DataSpec(**one["spec"]), one["digest"]) for role, one in data}
        made = training and Training(**{**training, "lr": lr})
        return StageSpec(**{**plain, "training": made, "data": known})
    except (KeyError, TypeError):
        return None


def _manifests(store: Path, names: set[str]) -> Iterable[Manifest]:
    """Yield readable manifests of stages with these names, whose files are not checked."""
    for folder in sorted(store.glob("*-*")) if store.is_dir() else ():
        if folder.name.rpartition("-")[0] in names:
            try:
                manifest = sealing.read(folder)
            except Damaged:
                continue
            if manifest and {"spec", "result", "seconds", "host", "device"} <= manifest.keys():
                yield manifest


def rate_of(spec: StageSpec, manifest: Manifest) -> Rate | None:
    """Return a stage's rate from its steps and seconds; None where nothing was trained."""
    result: Mapping[str, Any] = manifest["result"]
    images, seconds = int(result["images"]), float(manifest["seconds"])
    todo = work(spec, images)
    if spec.training is None or "steps" not in result:
        return Rate(0.0, 0.0, seconds / todo.images) if todo.images else None
    evaluated = EVALUATION / spec.training.global_batch  # in steps, an image
    steps = result["steps"] + result["lr_steps"] + evaluated * todo.evaluated
    return Rate(seconds / steps, evaluated * seconds / steps, 0.0)


def _middle(rates: Sequence[Rate]) -> Rate:
    steps, evaluated, images = zip(*((r.step, r.evaluated, r.image) for r in rates), strict=True)
    return Rate(median(steps), median(evaluated), median(images))


def timed(
    specs: Sequence[StageSpec], data: DataSpec, machine: Machine, beside: int
) -> dict[Subject, Rate | str]:
    """Time ten steps of each; a text says in one line why there is no rate.

    beside: worker groups that train at once on this machine.
    """
    from trainables.timing import Question

    question = Question(tuple(specs), data.size, data.channels, machine.threads)
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "question"
        asked.write_bytes(pickle.dumps(question))
        count = 1 if machine.gpu else max(1, min(beside * machine.workers, SIDE_BY_SIDE))
        answers = _ask(asked, [Path(folder) / f"answer-{k}" for k in range(count)])
    each = [[answer[k] for answer in answers] for k in range(len(specs))]
    means = [_mean(answer, machine.workers) for answer in each]
    return {subject(s): _with_probes(s, found) for s, found in zip(specs, means, strict=True)}


def _ask(question: Path, targets: Sequence[Path]) -> list[list["Timed | str"]]:
    """Return the answers of as many processes at once as there are files for them."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "trainables.timing", str(question)]
    children = [
        subprocess.Popen(
            [*command, str(target)],
            env={**EVERYWHERE, **os.environ, "PYTHONPATH": path},  # as of the workers
            cwd=question.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for target in targets
    ]
    try:
        for child in children:
            child.wait(SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        for child in children:
            child.kill()
            child.wait()
    known = [pickle.loads(target.read_bytes()) for target in targets if target.exists()]
    specs = pickle.loads(question.read_bytes()).specs
    return known or [[f"timing it failed, or took more than {SECONDS} s" for _ in specs]]


def _with_probes(spec: StageSpec, found: Rate | str) -> Rate | str:
    """Give a pretext task, which is timed without its probes, the usual cost of their images."""
    if isinstance(found, str) or spec.kind != PRETEXT:
        return found
    return replace(found, evaluated=EVALUATION * found.step / spec.trained.global_batch)


def _mean(answers: Sequence["Timed | str"], workers: int) -> Rate | str:
    """Return the mean of the processes; `workers` share a step's images."""
    said = [answer for answer in answers if isinstance(answer, str)]
    known = [answer for answer in answers if not isinstance(answer, str)]
    if said or not known:
        return said[0]
    return Rate(
        fmean(one.step for one in known) / workers,
        fmean(one.evaluated for one in known) / workers,
        fmean(one.image for one in known) / workers,
    )
