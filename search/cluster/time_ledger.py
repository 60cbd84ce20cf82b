"""The time ledger: what every worker group spends its time on, besides training.

    ledger.asked("group-0", now)      # for work
    ledger.leased("group-0", now)     # a job
    ledger.began("group-0", now)      # its first step comes next
    ledger.ended("group-0", now)      # training and evaluation; the result is still to be written
    overhead = summarise(ledger.entries(now), offset, wall)

Training includes evaluation and a task's preparation before the first step (k-means, filling a
queue). Pure: the caller passes the time in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, median


@dataclass
class GroupTimes:
    """The times of one worker group, in seconds of the broker's clock."""

    asked: float | None = None  # waiting for work since
    work: float | None = None  # training since; None between two jobs
    first: float | None = None  # first began
    last: float | None = None  # last ended
    training: float = 0.0
    waiting: float = 0.0  # for work, between two jobs
    gaps: list[float] = field(default_factory=list)  # from a job's end to the next job's first step


class TimeLedger:
    """The times of all worker groups of a search."""

    def __init__(self) -> None:
        self._groups: dict[str, GroupTimes] = {}

    def asked(self, group: str, now: float) -> None:
        times = self._groups.setdefault(group, GroupTimes())
        if times.asked is None:
            times.asked = now

    def leased(self, group: str, now: float) -> None:
        times = self._groups[group]
        assert times.asked is not None, group
        if times.last is not None:
            times.waiting += now - times.asked
        times.asked = None

    def began(self, group: str, now: float) -> None:
        """Note the start of training; called at every heartbeat, the first one counts."""
        times = self._groups[group]
        if times.work is None:
            if times.last is not None:
                times.gaps.append(now - times.last)
            times.first = now if times.first is None else times.first
            times.work = now

    def ended(self, group: str, now: float) -> None:
        """Note the end of training; called before the result is written and after."""
        times = self._groups[group]
        if times.work is not None:
            times.training += now - times.work
            times.work, times.last = None, now

    def entries(self, now: float) -> dict[str, GroupTimes]:
        """Return the worker groups that trained; a running job counts up to `now`."""
        until = {
            group: times
            if times.work is None
            else replace(times, training=times.training + now - times.work, last=now)
            for group, times in self._groups.items()
        }
        return {group: times for group, times in until.items() if times.last is not None}


@dataclass(frozen=True)
class Overhead:
    """Means over worker groups, in seconds; with `training` the first four are the wall time.

    first_step: from the command to the first step of all. gap: median from a job's end to the next
    job's first step in the same worker group, None if none had two jobs. fraction: of the
    wall time that was not training or evaluation.
    """

    start: float  # from the command to a worker group's first step
    between_stages: float  # preparing a job and writing its result
    waiting: float  # for work
    closing: float  # from the last job's end to the report
    training: float
    first_step: float
    gap: float | None
    fraction: float

    def kinds(self) -> dict[str, float]:
        """Return `overhead_seconds` of summary.json."""
        names = ("start", "between_stages", "waiting", "closing")
        return {name: round(getattr(self, name), 3) for name in names}


def summarise(entries: Mapping[str, GroupTimes], offset: float, wall: float) -> Overhead | None:
    """Summarise all worker groups; None if nothing was trained.

    offset: seconds from the command's start to the broker's. wall: the command's wall time so far,
    in seconds.
    """
    if not entries:
        return None
    every = entries.values()
    firsts = [times.first + offset for times in every if times.first is not None]
    ends = [times.last for times in every if times.last is not None]
    gaps = [gap for times in every for gap in times.gaps]
    training = fmean(times.training for times in every)
    between = fmean(sum(times.gaps) - times.waiting for times in every)
    return Overhead(
        start=fmean(firsts),
        between_stages=between,
        waiting=fmean(times.waiting for times in every) + max(ends) - fmean(ends),
        closing=wall - offset - max(ends),
        training=training,
        first_step=min(firsts),
        gap=median(gaps) if gaps else None,
        fraction=1 - training / wall,
    )
