"""The broker: one actor between trials, which ask for a score, and worker groups, which lease jobs.

A job is trained once, whoever asks and however often: by this search (one future a key), by another
search on the same store (one lock a key), or by an earlier one (its manifest is there). A job whose
group died is leased again and goes on from its checkpoint; after `attempts` leases it fails, alone.
"""

import asyncio
import logging
import socket
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from search.plan import Plan
from search.proposal import Proposal
from search.store import StageStore
from trainables.errors import StageFailed
from trainables.job import Job, Lease
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
        self.plan, self.settings = plan, settings
        self.store = StageStore(settings.store)
        self.queue: deque[Job] = deque()
        self.arrived = asyncio.Condition()
        self.futures: dict[str, asyncio.Task[Manifest]] = {}
        self.answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self.held: dict[str, Held] = {}
        self.attempts: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self.states: dict[str, dict[str, Any]] = {}
        self.trained, self.reused = set[str](), set[str]()
        self.number, self.stopping = 0, False
        self.started = time.monotonic()
        self.first_step: float | None = None

    # -- asked by trials -------------------------------------------------------------------------

    async def score(self, proposal: Proposal) -> tuple[float, str]:
        """Train what is missing of the chain and score it: the accuracy, or NaN and why."""
        label = str(proposal)
        self.states[label] = {"state": "waiting"}
        try:
            for spec in self.plan.stages(proposal):
                await self._ensure(spec, label)
            manifest = await self._ensure(self.plan.downstream(proposal), label)
        except StageFailed as failed:
            self.states[label] = {"state": "failed", "reason": str(failed)}
            return float("nan"), str(failed)
        result = manifest["result"]
        interval = [result["ci_low"], result["ci_high"]]
        score = result["balanced_accuracy"]
        self.states[label] = {"state": "done", "score": score, "ci": interval}
        return score, ""

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
        self.states[job.name] = {"state": "running"}
        return self.held[group].lease

    def heartbeat(self, group: str, number: int, progress: dict[str, Any]) -> None:
        if (held := self._current(group, number)) is not None:
            held.beat = time.monotonic()
            held.progress |= progress
            if self.first_step is None and progress.get("step"):
                self.first_step = time.monotonic() - self.started

    def finish(self, group: str, number: int, result: dict[str, Any]) -> None:
        if (held := self._current(group, number)) is not None:
            del self.held[group]
            self.answers[held.lease.job.key].set_result(result)

    async def fail(self, group: str, number: int, reason: str, final: bool, trace: str) -> None:
        """final: the job cannot be done; otherwise it is tried again, `attempts` times in all."""
        if (held := self._current(group, number)) is None:
            return
        if trace:
            log.warning("%s failed:\n%s", held.lease.job.name, trace)
            (self.store.part(held.lease.job.key) / "error.txt").write_text(trace)
        if final:
            del self.held[group]
            self.answers[held.lease.job.key].set_exception(StageFailed(reason))
        else:
            await self._lost(group, reason)

    def _current(self, group: str, number: int) -> Held | None:
        held = self.held.get(group)
        return held if held is not None and held.lease.number == number else None

    def _something(self) -> bool:
        return self.stopping or bool(self.queue)

    async def _lost(self, group: str, reason: str) -> None:
        """The group's job goes to whoever asks next, unless it was tried too often."""
        job = self.held.pop(group).lease.job
        self.reasons[job.key] = reason
        tried = self.attempts[job.key]
        if tried < self.settings.attempts:
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
        async with self.arrived:
            self.stopping = True
            self.arrived.notify_all()

    def status(self) -> dict[str, Any]:
        """A snapshot for the live view and the summary."""
        groups = [self._group(held) for held in self.held.values()]
        return {
            "elapsed": time.monotonic() - self.started,
            "stages_trained": len(self.trained),
            "stages_reused": len(self.reused),
            "trained": sorted(self.trained),
            "first_step": self.first_step,
            "queued": len(self.queue),
            "chains": dict(self.states),
            "groups": groups,
        }

    def _group(self, held: Held) -> dict[str, Any]:
        job = held.lease.job
        what = "stage" if isinstance(job.spec, StageSpec) else "downstream"
        return {"group": held.group, "chain": job.name, "what": what, **held.progress}
