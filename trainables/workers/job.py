"""Messages between the broker and the worker groups. Standard library only.

Lease   broker -> group   a job to do
Heartbeat, Result, Fault  group -> broker   how far it is; how it ended
"""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from trainables.spec import DownstreamSpec, Runtime, StageSpec

SAVING = "saving"  # trained and evaluated; the result is being written


@dataclass(frozen=True)
class Job:
    """One stage or score to train, with the directories it reads and writes.

    store_id: what the store's own file says; a worker that reads another sees another disk.
    """

    key: str
    name: str  # of the chain, for people
    spec: StageSpec | DownstreamSpec
    parent_dir: str | None
    out_dir: str
    data_root: str | None
    cache_dir: str
    runtime: Runtime
    store_id: str
    weights: str | None = None


@dataclass(frozen=True)
class Lease:
    """A job handed to a group; `number` tells a late answer from the current one."""

    number: int
    job: Job


@dataclass(frozen=True)
class Heartbeat:
    """How far a job is. None and empty: not said this time.

    saved: steps that the stage's checkpoint holds, trials of the LR range included. curve:
    validation balanced accuracy, %, of each epoch so far of a fine-tuning, of `epochs` in all.
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
    """A job that came to its end. failed: why its task can't be trained (`loss is NaN`)."""

    values: dict[str, Any] = field(default_factory=dict)
    failed: str = ""


@dataclass(frozen=True)
class Fault:
    """A job that the machine kept from its end; says nothing of the chain."""

    reason: str
    trace: str = ""


Answer: TypeAlias = Result | Fault
