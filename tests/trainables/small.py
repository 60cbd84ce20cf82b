"""A drawn data set and specifications small enough to train in a test."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import Space, load
from trainables.images.cache import Prepared, open_cache, prepare
from trainables.plugins import available
from trainables.spec import Runtime, StageSpec
from trainables.workers.job import Heartbeat

OVERRIDES = (
    "data=demo", "profile=smoke", "data.params.n=320", "profile.batch=16", "profile.steps=10",
    "profile.lr_steps=4", "profile.downstream_batch=16", "profile.downstream_steps=12",
    "profile.downstream_lr_steps=6", "profile.label_fraction=0.5", "probe=false",
    "runtime.log_every=2",
)  # fmt: skip
TASKS = available("trainables.pretext")
RUNTIME = Runtime(threads=1, log_every=2)


@cache
def space(*more: str) -> Space:
    """isic3 made small, with every task there is."""
    others = [f"+task@tasks.{t}={t}" for t in TASKS if t not in load("isic3").tasks]
    return load("isic3", [*OVERRIDES, *others, *more])


@cache
def prepared(folder: Path, *more: str) -> Prepared:
    return open_cache(prepare(data_spec(space(*more)), None, folder))


class Unread:
    """In place of labels and groups: whoever looks fails."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"a pretext task read labels or groups ({name})")

    def __getitem__(self, key: object) -> object:
        raise AssertionError(f"a pretext task read labels or groups [{key}]")

    def __len__(self) -> int:
        raise AssertionError("a pretext task counted labels or groups")


def unlabelled(data: Prepared) -> Prepared:
    return replace(data, labels=Unread(), groups=Unread())


def plan(data: Prepared, *more: str) -> Plan:
    return Plan(replace(space(*more)), data.digest)


def stage(data: Prepared, node: str, *more: str) -> StageSpec:
    """Return the specification of the node's last stage."""
    return plan(data, *more).stages(Node.parse(node))[-1]


def at(spec: StageSpec, *rates: float) -> StageSpec:
    """Return the stage at rates that no space may have."""
    training = spec.training
    return replace(spec, training=replace(training, lr=replace(training.lr, range=rates)))


class Killed(Exception):
    """Stands for a process that dies at a report."""


def dying(after: int) -> Callable[[Heartbeat], None]:
    """Return a report function that raises Killed when it is called for the `after`th time."""
    seen = []

    def report(progress: Heartbeat) -> None:
        seen.append(progress)
        if len(seen) == after:
            raise Killed

    return report


def quiet(progress: Heartbeat) -> None:
    assert progress


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in json.loads((folder / "history.json").read_text())["train"]]
