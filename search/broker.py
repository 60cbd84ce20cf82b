"""The broker: one actor between trials, which ask for a score, and worker groups, which lease jobs.

A job is trained once, whoever asks and however often: by this search (one future a key), by another
search on the same store (one lock a key), or by an earlier one (its manifest is there). A job whose
group died is leased again and goes on from its checkpoint; after `attempts` leases it fails, alone.
A score that is not wanted any more is ended by its group, which leaves a checkpoint.
"""

import asyncio
import logging
import socket
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from search.overhead import Ledger
from search.plan import Plan
from search.proposal import Proposal
from search.store import StageStore
from trainables.errors import StageFailed, Stopped
from trainables.job import SAVING, Job, Lease
from trainables.spec import DownstreamSpec, Runtime, StageSpec

LEASE_SECONDS = 60.0  # without a heartbeat, a lease is taken back
IDLE_SECONDS = 30.0  # a group without work asks again
LOCK_SECONDS = 1.0  # between looks at a stage that another search is training
Spec: TypeAlias = StageSpec | DownstreamSpec
Manifest: TypeAlias = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What the broker adds to a specification to make a job of it."""

    store: str
    data_root: str | None
    cache: str
    weights: str | None
    runtime: Runtime
    attempts: int


@dataclass(frozen=True)
class Curve:
    """Validation accuracies of a fine-tuning's epochs so far, in percent, of `epochs` in all."""

    values: tuple[float, ...]
    epochs: int


@dataclass
class Held:
    """A job out with a group."""

    lease: Lease
    group: str
    since: float
    beat: float
    progress: dict[str, Any] = field(default_factory=dict)


class Broker:
    """Runs as a Ray actor with concurrent methods; itself knows nothing of Ray."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.store = StageStore(settings.store)
        self.plan, self.settings = replace(plan, chosen=self.store.rate), settings
        self.queue: deque[Job] = deque()
        self.arrived = asyncio.Condition()
        self.futures: dict[str, asyncio.Task[Manifest]] = {}
        self.answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.held: dict[str, Held] = {}
        self.attempts: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.news: dict[str, asyncio.Queue[Curve | asyncio.Task[tuple[float, str]]]] = {}
        self.seen: dict[str, int] = {}  # epochs told of each chain
        self.dropped = set[str]()  # chains whose score nobody wants
        self.leased = 0.0  # seconds of leases that are over
        self.trained, self.reused = set[str](), set[str]()
        self.number, self.stopping = 0, False
        self.started = time.monotonic()
        self.ledger = Ledger()
        self.present: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    # -- asked by trials -------------------------------------------------------------------------

    async def follow(self, proposal: Proposal) -> Curve | tuple[float, str]:
        """The next epoch of the chain's fine-tuning, at last what `score` has to say."""
        label = str(proposal)
        if label not in self.news:
            self.news[label] = asyncio.Queue()
            scoring = asyncio.ensure_future(self.score(proposal))
            scoring.add_done_callback(self.news[label].put_nowait)
        news = await self.news[label].get()
        return news if isinstance(news, Curve) else await news

    async def drop(self, proposal: Proposal, reason: str) -> None:
        """Nobody wants the chain's score any more: its group learns by its next heartbeat."""
        label = str(proposal)
        self.dropped.add(label)
        self.states[label] = {"state": "stopped", "reason": reason}
        for job in [job for job in self.queue if self._unwanted(job)]:
            self.queue.remove(job)
            self._drop(job)

    async def score(self, proposal: Proposal) -> tuple[float, str]:
        """Train what is missing of the chain and score it: the accuracy, or NaN and why."""
        label = str(proposal)
        self.states[label] = {"state": "waiting"}
        try:
            for spec in self.plan.singles(proposal):
                with suppress(StageFailed):  # then its whole range is tried
                    await self._ensure(spec, label)
            for spec in self.plan.stages(proposal):
                await self._ensure(spec, label)
            manifest = await self._scored(proposal, label)
        except Stopped:
            return float("nan"), self.states[label].get("reason", "interrupted")
        except StageFailed as failed:
            self.states[label] = {"state": "failed", "reason": str(failed)}
            return float("nan"), str(failed)
        result = manifest["result"]
        interval = [result["ci_low"], result["ci_high"]]
        score = result["balanced_accuracy"]
        if label not in self.dropped:
            self.states[label] = {"state": "done", "score": score, "ci": interval}
        return score, ""

    async def _scored(self, proposal: Proposal, label: str) -> Manifest:
        """If it was another chain's to drop and is wanted here, it goes on from its checkpoint."""
        while True:
            try:
                return await self._ensure(self.plan.downstream(proposal), label)
            except Stopped:
                if label in self.dropped or self.stopping:
                    raise

    async def _ensure(self, spec: Spec, label: str) -> Manifest:
        """The manifest of a finished job; waits for it, and starts it if nobody has."""
        key = spec.key()
        if key not in self.futures:
            self.futures[key] = asyncio.ensure_future(self._obtain(key, spec, label))
        return await asyncio.shield(self.futures[key])

    async def _obtain(self, key: str, spec: Spec, label: str) -> Manifest:
        while (manifest := self.store.manifest(key)) is None:
            lock = self.store.lock(key)
            if lock is None:
                self.states[label] = {"state": "waiting", "reason": "another search trains it"}
                await asyncio.sleep(LOCK_SECONDS)
                continue
            with lock:
                if (manifest := self.store.manifest(key)) is None:
                    return await self._train(key, spec, label)
        if isinstance(spec, StageSpec):
            self.reused.add(key)
        return manifest

    async def _train(self, key: str, spec: Spec, label: str) -> Manifest:
        settings = self.settings
        job = Job(
            key=key,
            name=label,
            spec=spec,
            parent_dir=str(self.store.path(spec.parent)) if spec.parent else None,
            out_dir=str(self.store.part(key)),
            data_root=settings.data_root,
            cache_dir=settings.cache,
            runtime=settings.runtime,
            weights=settings.weights if isinstance(spec, DownstreamSpec) and spec.weights else None,
        )
        self.answers[key] = asyncio.get_running_loop().create_future()
        await self._enqueue(job)
        result = await self.answers[key]
        manifest = self._commit(key, spec, result)
        if isinstance(spec, StageSpec):
            self.trained.add(key)
        return manifest

    def _commit(self, key: str, spec: Spec, result: dict[str, Any]) -> Manifest:
        manifest = {
            "key": key,
            "spec": asdict(spec),
            "result": result,
            "seconds": result["seconds"],
            "device": result["device"],
            "host": socket.gethostname(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "attempts": self.attempts[key],
        }
        return self.store.commit(key, manifest)

    async def _enqueue(self, job: Job) -> None:
        async with self.arrived:
            self.queue.append(job)
            self.arrived.notify()

    # -- asked by worker groups ------------------------------------------------------------------

    async def lease(self, group: str) -> Lease | str | None:
        """The next job for this group; "stop" when the search is over, None to ask again."""
        if group in self.held:
            await self._lost(group, "its worker group died")
        self.ledger.asked(group, self._now())
        self.present[group].set()
        async with self.arrived:
            try:
                await asyncio.wait_for(self.arrived.wait_for(self._something), IDLE_SECONDS)
            except TimeoutError:
                return None
            if self.stopping:
                return "stop"
            job = self.queue.popleft()
        self.attempts[job.key] = self.attempts.get(job.key, 0) + 1
        self.number += 1
        now = time.monotonic()
        self.held[group] = Held(Lease(self.number, job), group, now, now)
        self.ledger.leased(group, self._now())
        self.states[job.name] = {"state": "running"}
        return self.held[group].lease

    def heartbeat(self, group: str, number: int, progress: dict[str, Any]) -> bool:
        """True if the group may end the job: it is not wanted any more, or not this group's."""
        if (held := self._current(group, number)) is None:
            return True
        held.beat = time.monotonic()
        held.progress |= progress
        if progress.get("phase") == SAVING:
            self.ledger.ended(group, self._now())
        elif "step" in progress:
            self.ledger.began(group, self._now())
        if "curve" in progress:
            self._tell(held.lease.job.name, Curve(tuple(progress["curve"]), progress["epochs"]))
        return self._unwanted(held.lease.job)

    def _tell(self, label: str, curve: Curve) -> None:
        """To whoever follows; not again what a second attempt comes through."""
        if label in self.news and len(curve.values) > self.seen.get(label, 0):
            self.seen[label] = len(curve.values)
            self.news[label].put_nowait(curve)

    def finish(self, group: str, number: int, result: dict[str, Any]) -> None:
        if self._current(group, number) is not None:
            self.answers[self._release(group).key].set_result(result)

    def end(self, group: str, number: int) -> None:
        """The group has ended a job that is not wanted any more."""
        if self._current(group, number) is not None:
            self._drop(self._release(group))

    async def fail(self, group: str, number: int, reason: str, final: bool, trace: str) -> None:
        """final: the job cannot be done; otherwise it is tried again, `attempts` times in all."""
        if (held := self._current(group, number)) is None:
            return
        if trace:
            log.warning("%s failed:\n%s", held.lease.job.name, trace)
            (self.store.part(held.lease.job.key) / "error.txt").write_text(trace)
        if final:
            self.answers[self._release(group).key].set_exception(StageFailed(reason))
        else:
            await self._lost(group, reason)

    def _current(self, group: str, number: int) -> Held | None:
        held = self.held.get(group)
        return held if held is not None and held.lease.number == number else None

    def _release(self, group: str) -> Job:
        """The group's job, out of its hands."""
        held = self.held.pop(group)
        self.leased += time.monotonic() - held.since
        self.ledger.ended(group, self._now())
        return held.lease.job

    def _unwanted(self, job: Job) -> bool:
        """After an interrupt nothing is: what is in work leaves a checkpoint."""
        scored = isinstance(job.spec, DownstreamSpec)
        return self.stopping or (scored and job.name in self.dropped)

    def _drop(self, job: Job) -> None:
        self.futures.pop(job.key, None)
        self.answers[job.key].set_exception(Stopped(job.name))

    def _now(self) -> float:
        return time.monotonic() - self.started

    def _something(self) -> bool:
        return self.stopping or bool(self.queue)

    async def _lost(self, group: str, reason: str) -> None:
        """The group's job goes to whoever asks next, unless it was tried too often."""
        job = self._release(group)
        self.reasons[job.key] = reason
        tried = self.attempts[job.key]
        if self._unwanted(job):
            self._drop(job)
        elif tried < self.settings.attempts:
            log.warning("%s: %s; attempt %d follows", job.name, reason, tried + 1)
            await self._enqueue(job)
        else:
            failed = StageFailed(f"{reason} (gave up after {tried} attempts)")
            self.answers[job.key].set_exception(failed)

    # -- asked by the driver ---------------------------------------------------------------------

    async def watch(self) -> None:
        """Take back leases whose group fell silent; runs for as long as the search does."""
        while not self.stopping:
            await asyncio.sleep(LEASE_SECONDS / 6)
            now = time.monotonic()
            for group, held in list(self.held.items()):
                if now - held.beat > LEASE_SECONDS:
                    await self._lost(group, f"its group was silent for {LEASE_SECONDS:.0f} s")

    async def stop(self) -> None:
        """Groups end, those at work soon."""
        async with self.arrived:
            self.stopping = True
            self.arrived.notify_all()

    async def came(self, group: str) -> None:
        """Answered once the group has come up and asked for work."""
        await self.present[group].wait()

    def status(self) -> dict[str, Any]:
        """A snapshot for the live view and the summary."""
        groups, now = [self._group(held) for held in self.held.values()], time.monotonic()
        return {
            "elapsed": self._now(),
            "leased": self.leased + sum(now - held.since for held in self.held.values()),
            "stages_trained": len(self.trained),
            "stages_reused": len(self.reused),
            "trained": sorted(self.trained),
            "came": sum(one.is_set() for one in self.present.values()),
            "ledger": self.ledger.entries(self._now()),
            "queued": len(self.queue),
            "chains": dict(self.states),
            "groups": groups,
        }

    def _group(self, held: Held) -> dict[str, Any]:
        job = held.lease.job
        what = "stage" if isinstance(job.spec, StageSpec) else "downstream"
        return {"group": held.group, "chain": job.name, "what": what, **held.progress}
