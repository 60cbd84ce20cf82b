"""Book-keeping of leases: who works on what, how far it is, how often it was tried."""

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace

from search.results.status import GroupState
from trainables.spec import StageSpec
from trainables.workers.job import Heartbeat, Lease


@dataclass
class Leased:
    """A leased job: its worker group, the nodes it runs on, start and last heartbeat."""

    lease: Lease
    group: str
    nodes: Collection[str]
    since: float
    beat: float
    progress: Heartbeat = field(default_factory=Heartbeat)

    def hear(self, news: Heartbeat, now: float) -> None:
        """Keep what was said before where nothing was said this time."""
        said = {field.name: getattr(news, field.name) for field in fields(news)}
        fresh = {name: value for name, value in said.items() if value not in (None, "", ())}
        self.progress, self.beat = replace(self.progress, **fresh), now

    def state(self) -> GroupState:
        """Its job and how far it is."""
        job, at = self.lease.job, self.progress
        return GroupState(
            self.group, job.name, "stage" if isinstance(job.spec, StageSpec) else "downstream",
            at.phase, at.step, at.steps, at.images_per_second, at.eta,
        )  # fmt: skip


@dataclass
class Attempts:
    """How often a job was leased: in all, and since its checkpoint last grew (`saved` steps)."""

    total: int = 0
    fruitless: int = 0
    saved: int = 0
    groups: set[str] = field(default_factory=set)  # in which it met a fault

    def begin(self) -> None:
        self.total, self.fruitless = self.total + 1, self.fruitless + 1

    def progressed(self, saved: int) -> None:
        """Start counting anew if the checkpoint holds more steps than in any attempt before."""
        if saved > self.saved:
            self.saved, self.fruitless = saved, 0
