"""What the broker hands to a worker group, and what both call its phases. Standard library only."""

from dataclasses import dataclass

from trainables.spec import DownstreamSpec, Runtime, StageSpec

SAVING = "saving"  # trained and evaluated; the result is being written


@dataclass(frozen=True)
class Job:
    """One thing to do: a stage or a score, with the directories it reads and writes."""

    key: str
    name: str  # of the chain, for people
    spec: StageSpec | DownstreamSpec
    parent_dir: str | None
    out_dir: str
    data_root: str | None
    cache_dir: str
    runtime: Runtime
    weights: str | None = None


@dataclass(frozen=True)
class Lease:
    """A job handed to a group; `number` tells a late answer from the current one."""

    number: int
    job: Job
