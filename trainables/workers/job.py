"""Messages between the broker and the worker groups. Standard library only.

Lease                     broker -> worker group   a job to do
Heartbeat, Result, Fault  worker group -> broker   its progress; its end
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from trainables.spec import Runtime, Score, StageSpec

SAVING = "saving"  # trained and evaluated; the result is being written


@dataclass(frozen=True)
class Job:
    """One stage, with the directories that it reads and writes.

    inputs: folders of finished stages by role; places: data roots and weight files by role; those
    of a pool's further data sets are at `pool 0`, `pool 1`, ..., that of masks at `masks 0`
    store_id: the id in the driver's store; a worker that reads a different id has a different disk.
    """

    key: str
    name: str  # the chain, for display
    spec: StageSpec
    inputs: Mapping[str, str]
    places: Mapping[str, str]
    out_dir: str
    cache_dir: str
    runtime: Runtime
    store_id: str


@dataclass(frozen=True)
class Lease:
    """A job leased to a worker group; `number` tells a late answer from a current one."""

    number: int
    job: Job


@dataclass(frozen=True)
class Heartbeat:
    """Progress of a job; None or empty: unchanged.

    saved: steps in the stage's checkpoint, trials of the LR range included. curve: the merit of a
    fine-tuning's objective (see `Measure`) on validation after each of its `epochs` so far.
    """

    phase: str = ""
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    eta: float | None = None  # seconds
    loss: float | None = None
    saved: int | None = None
    curve: tuple[float, ...] = ()
    epochs: int = 0


@dataclass(frozen=True)
class Result:
    """A finished job. failed: why its task can't be trained (`loss is NaN`)."""

    values: Mapping[str, float | str] = field(default_factory=dict)
    score: Score | None = None  # of a kind that scores
    failed: str = ""


@dataclass(frozen=True)
class Fault:
    """A job that the machine interrupted; no evidence about the chain."""

    reason: str
    trace: str = ""


Answer: TypeAlias = Result | Fault
