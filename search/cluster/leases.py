"""Leases: which worker group has which job, its progress, its attempts."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace

from search.results.status import GroupState
from trainables.workers.job import Heartbeat, Lease


@dataclass
class Leased:
    """A leased job: its worker group, Ray nodes, start and last heartbeat (monotonic seconds)."""

    lease: Lease
    group: str
    nodes: Collection[str]
    since: float
    beat: float
    progress: Heartbeat = field(default_factory=Heartbeat)

    def hear(self, heartbeat: Heartbeat, now: float) -> None:
        """Update the progress; fields that the heartbeat leaves empty keep their value."""
        said = {field.name: getattr(heartbeat, field.name) for field in fields(heartbeat)}
        fresh = {name: value for name, value in said.items() if value not in (None, "", ())}
        self.progress, self.beat = replace(self.progress, **fresh), now

    def state(self) -> GroupState:
        job = self.lease.job
        return GroupState(self.group, job.name, job.spec.kind, self.progress)


@dataclass
class Attempts:
    """The leases of a job: in total, and since its checkpoint (`saved` steps) last grew."""

    total: int = 0
    fruitless: int = 0
    saved: int = 0
    groups: set[str] = field(default_factory=set)  # worker groups in which it met a fault

    def begin(self) -> None:
        self.total, self.fruitless = self.total + 1, self.fruitless + 1

    def progressed(self, saved: int) -> None:
        """Reset the count if the checkpoint has more steps than in any earlier attempt."""
        if saved > self.saved:
            self.saved, self.fruitless = saved, 0
