"""What a search's time went to besides training and evaluation: counted by the broker, per group.

    ledger.asked("group-0", now)      # for work
    ledger.leased("group-0", now)     # got it
    ledger.began("group-0", now)      # its first step comes next
    ledger.ended("group-0", now)      # trained and evaluated, what follows is writing it down
    overhead = summarise(ledger.entries(now), offset, wall)

Training includes evaluation and what a task does to its images before the first step (k-means, a
queue to fill). Pure: the clock is the caller's, in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, median


@dataclass
class Entry:
    """One worker group, in seconds of the broker's clock."""

    asked: float | None = None  # open question for work, since
    work: float | None = None  # at work since; None between two jobs
    first: float | None = None  # began for the first time
    last: float | None = None  # ended for the last time
    training: float = 0.0
    waiting: float = 0.0  # without work, between two jobs
    gaps: list[float] = field(default_factory=list)  # from a job's end to the next one's first step


class Ledger:
    """Of all groups that ever came."""

    def __init__(self) -> None:
        self._groups: dict[str, Entry] = {}

    def asked(self, group: str, now: float) -> None:
        entry = self._groups.setdefault(group, Entry())
        if entry.asked is None:
            entry.asked = now

    def leased(self, group: str, now: float) -> None:
        entry = self._groups[group]
        assert entry.asked is not None, group
        if entry.last is not None:
            entry.waiting += now - entry.asked
        entry.asked = None

    def began(self, group: str, now: float) -> None:
        """Heard at every phase of a job; the first time counts."""
        entry = self._groups[group]
        if entry.work is None:
            if entry.last is not None:
                entry.gaps.append(now - entry.last)
            entry.first = now if entry.first is None else entry.first
            entry.work = now

    def ended(self, group: str, now: float) -> None:
        """Heard when the job's result is to be written, and again when the job is over."""
        entry = self._groups[group]
        if entry.work is not None:
            entry.training += now - entry.work
            entry.work, entry.last = None, now

    def entries(self, now: float) -> dict[str, Entry]:
        """Of those that have trained; what is at work trained until now."""
        until = {
            group: entry
            if entry.work is None
            else replace(entry, training=entry.training + now - entry.work, last=now)
            for group, entry in self._groups.items()
        }
        return {group: entry for group, entry in until.items() if entry.last is not None}


@dataclass(frozen=True)
class Overhead:
    """Means over worker groups, in seconds; with `training` the first four are the wall time.

    first_step: from the command to the first group's first step. gap: the median time from a job's
    end to the next one's first step in the same group, None where no group had two. share: of the
    wall time that was not training or evaluation.
    """

    start: float  # from the command to a group's first step
    between_stages: float  # preparing a job and writing its result
    waiting: float  # for work
    closing: float  # from the last job's end to the report
    training: float
    first_step: float
    gap: float | None
    share: float

    def kinds(self) -> dict[str, float]:
        """What `summary.json` calls `overhead_seconds`."""
        names = ("start", "between_stages", "waiting", "closing")
        return {name: round(getattr(self, name), 3) for name in names}


def summarise(entries: Mapping[str, Entry], offset: float, wall: float) -> Overhead | None:
    """offset: the command's clock minus the broker's; wall: of the command, until now.

    None if nothing was trained.
    """
    if not entries:
        return None
    every = entries.values()
    firsts = [entry.first + offset for entry in every if entry.first is not None]
    ends = [entry.last for entry in every if entry.last is not None]
    gaps = [gap for entry in every for gap in entry.gaps]
    training = fmean(entry.training for entry in every)
    between = fmean(sum(entry.gaps) - entry.waiting for entry in every)
    return Overhead(
        start=fmean(firsts),
        between_stages=between,
        waiting=fmean(entry.waiting for entry in every) + max(ends) - fmean(ends),
        closing=wall - offset - max(ends),
        training=training,
        first_step=min(firsts),
        gap=median(gaps) if gaps else None,
        share=1 - training / wall,
    )
