"""The broker: one actor between trials, which ask for a score, and worker groups, which lease jobs.

A job is trained once, however often it is requested: by this search (one future a key), by another
search on the same store (one lock a key), or by an earlier one (its manifest is there).

It ends in a `Result` or in a `Fault`. After a fault it is tried again from its checkpoint, in
another worker group if there is one; `attempts` without progress end the search and say nothing
about the chain. A cancelled score is ended by its worker group, which leaves a checkpoint.
"""

import asyncio
import logging
import socket
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime

from search.chains.node import Node
from search.chains.plan import Plan
from search.cluster.leases import Attempts, Leased
from search.cluster.time_ledger import TimeLedger
from search.results.status import ChainState, Curve, Probed, Scored, Status, details
from search.scheduling.scheduler import merit_of, score_of
from search.store.sealing import Manifest
from search.store.stage_store import StageStore
from trainables.errors import MachineFault, StageFailed, Stopped, first_line
from trainables.spec import EXTERNAL, FEATURES, PRETEXT, PROBE, Runtime, StageSpec
from trainables.workers.job import SAVING, Answer, Fault, Heartbeat, Job, Lease, Result

LEASE_SECONDS = 60.0  # without a heartbeat, a lease is taken back
IDLE_SECONDS = 30.0  # an idle worker group asks again
LOCK_SECONDS = 1.0  # between polls of a stage that another search is training
log = logging.getLogger(__name__)


class InputDamaged(Exception):
    """A stage that another one needs was damaged and has been set aside."""


class Broker:
    """Hands out jobs and answers trials; a Ray actor with concurrent methods, without Ray code.

    threads: CPU threads a worker; 0 for torch's own choice.
    """

    def __init__(self, plan: Plan, threads: int = 0) -> None:
        self.plan, self.store, chosen = plan, StageStore(plan.space.store), plan.space.runtime
        every, seconds = chosen.log_every, chosen.checkpoint_seconds
        self.runtime = Runtime(threads=threads, log_every=every, checkpoint_seconds=seconds)
        self.queue: deque[Job] = deque()
        self.changed = asyncio.Condition()  # a job was queued, or the search ends
        self.told = asyncio.Condition()  # a curve grew, or a score is there
        self.futures: dict[str, asyncio.Task[Manifest]] = {}
        self.answers: dict[str, asyncio.Future[Result]] = {}
        self.leases: dict[str, Leased] = {}
        self.attempts: dict[str, Attempts] = defaultdict(Attempts)
        self.states: dict[str, ChainState] = {}
        self.probes: dict[str, Probed] = {}
        self.curves: dict[str, Curve] = {}
        self.scores: dict[str, asyncio.Task[Scored]] = {}
        self.cancelled = set[str]()  # chains whose score was cancelled
        self.leased = 0.0  # seconds of leases that are over
        self.trained, self.reused = set[str](), set[str]()
        self.number, self.stopping, self.fault = 0, False, ""
        self.started = time.monotonic()
        self.ledger = TimeLedger()
        self.present: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.heard: dict[str, float] = {}  # time of each worker group's last message
        self.calls = Counter[str]()  # for a lease, by worker group
        self.notices: list[str] = []

    # -- called by trials ------------------------------------------------------------------------

    async def follow(self, node: Node, epochs: int, probed: bool = True) -> Probed | Curve | Scored:
        """Return what is new of the chain: its probes, a curve of more epochs, finally its score.

        epochs, probed: what the caller knows. A call that repeats a lost trial's returns the same.
        """
        label = str(node)
        if label not in self.scores:
            self.scores[label] = asyncio.ensure_future(self.score(node))
            self.scores[label].add_done_callback(lambda _: asyncio.ensure_future(self._tell()))
        scoring = self.scores[label]
        async with self.told:
            await self.told.wait_for(
                lambda: scoring.done() or self._epochs(label) > epochs or self._news(label, probed)
            )
        if self._news(label, probed):
            return self.probes[label]
        return await scoring if scoring.done() else self.curves[label]

    def _epochs(self, label: str) -> int:
        return len(self.curves[label].values) if label in self.curves else 0

    def _news(self, label: str, probed: bool) -> bool:
        return label in self.probes and not probed

    async def _tell(self) -> None:
        async with self.told:
            self.told.notify_all()

    async def cancel(self, node: Node, reason: str) -> None:
        """Cancel the chain's score; its worker group learns it from its next heartbeat."""
        label = str(node)
        self.cancelled.add(label)
        self.states[label] = ChainState("stopped", reason)
        self._cancel_queued()

    async def score(self, node: Node) -> Scored:
        """Train what is missing of the chain and score it."""
        label, nan = str(node), float("nan")
        self.states[label] = ChainState("waiting")
        try:
            manifest = await self._scored(node, label)
            score, stages = score_of(manifest), self.plan.stages(node)
            known = [self.store.manifest(spec.key()) for spec in stages]
            found = details(score, manifest, known)
        except Stopped:
            return Scored(nan, self.states[label].reason or "interrupted", "ended")
        except StageFailed as failed:
            self.states[label] = ChainState("failed", str(failed))
            return Scored(nan, str(failed), "failed")
        except Exception as broken:
            if not isinstance(broken, MachineFault | ValueError):
                log.warning("%s", label, exc_info=broken)
            await self.end_search(f"{label}: {first_line(broken)}")
            return Scored(nan, self.fault, "ended")
        if label not in self.cancelled:
            self.states[label] = ChainState("done", "", score if score.measures else None)
        return Scored(merit_of(score), found=found)

    async def _scored(self, node: Node, label: str) -> Manifest:
        """Return the score's manifest, after all that comes before it."""
        while True:
            try:
                *needed, score = self.plan.graph(node)
                for spec in needed:
                    manifest = await self._ensure(spec, label)
                    if spec.kind in (PROBE, FEATURES):
                        found = score_of(manifest).measures
                        self.probes[label] = Probed({k: one.value for k, one in found.items()})
                        await self._tell()
                return await self._ensure(score, label)
            except InputDamaged:
                continue  # it is trained again
            except Stopped:
                # If only a twin with this key was cancelled, resume its checkpoint.
                if label in self.cancelled or self.stopping:
                    raise

    async def _ensure(self, spec: StageSpec, label: str) -> Manifest:
        """Return a finished job's manifest; start the job if it has not been started."""
        key = spec.key()
        if key not in self.futures:
            self.futures[key] = asyncio.ensure_future(self._obtain(key, spec, label))
        return await asyncio.shield(self.futures[key])

    async def _obtain(self, key: str, spec: StageSpec, label: str) -> Manifest:
        while (manifest := self.store.manifest(key)) is None:
            if self.stopping:
                raise Stopped(label)
            lock = self.store.lock(key)
            if lock is None:
                self.states[label] = ChainState("waiting", "another search trains it")
                await asyncio.sleep(LOCK_SECONDS)
                continue
            with lock:
                if (manifest := self.store.manifest(key)) is None:
                    return await self._train(key, spec, label)
        if spec.kind == PRETEXT:
            self.reused.add(key)
        return manifest

    async def _train(self, key: str, spec: StageSpec, label: str) -> Manifest:
        job = Job(
            key=key,
            name=label,
            spec=spec,
            inputs={role: str(self.store.path(known)) for role, known in spec.inputs.items()},
            places=self.plan.places(spec),
            out_dir=str(self.store.part(key)),
            cache_dir=self.plan.space.cache,
            runtime=self.runtime,
            store_id=self.store.id,
        )
        self.answers[key] = asyncio.get_running_loop().create_future()
        await self._enqueue(job)
        done = await self.answers[key]
        objective, score = self.plan.space.downstream.objective, done.score
        judged = self._scores(spec) or spec.kind == EXTERNAL
        if judged and not (score and objective in score.measures):
            raise StageFailed(f"{spec.kind} gave no {objective}")
        if spec.kind == PRETEXT:
            self.trained.add(key)
        return self.store.commit(key, {
            "key": key, "spec": asdict(spec), "result": done.values,
            "score": asdict(score) if score else None,
            "seconds": float(done.values["seconds"]), "device": str(done.values["device"]),
            "host": socket.gethostname(), "attempts": self.attempts[key].total,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        })  # fmt: skip

    async def _enqueue(self, job: Job) -> None:
        async with self.changed:
            self.queue.append(job)
            self._cancel_queued()  # its chain may have been cancelled just before
            self.changed.notify_all()

    # -- called by worker groups -----------------------------------------------------------------

    async def lease(self, group: str, nodes: Collection[str] = ()) -> Lease | str | None:
        """Return the next job for the worker group; "stop" at the end, None to ask again.

        nodes: ids of the Ray nodes that its workers run on. Of a worker group that died while it
        waited, and calls anew, the old call gets nothing.
        """
        self.calls[group] += 1
        call = self.calls[group]
        if group in self.leases:
            await self._retry(self._release(group), "its worker group died")
        self.ledger.asked(group, self._now())
        self.heard[group] = self._now()
        self.present[group].set()
        async with self.changed:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self.changed.wait_for(lambda: self.stopping or self._next(group)), IDLE_SECONDS
                )
            if self.stopping:
                return "stop"
            if call != self.calls[group] or (job := self._next(group)) is None:
                return None
            self.queue.remove(job)
        return self._lease(job, group, nodes)

    def _next(self, group: str) -> Job | None:
        """Return the first job that met no fault in this worker group, or met one in each there is.

        Probes come first: they are cheap, and the policy learns from them.
        """
        silent = self._now() - LEASE_SECONDS
        present = {group for group, heard in self.heard.items() if heard >= silent}
        for job in sorted(self.queue, key=lambda job: job.spec.kind not in (PROBE, FEATURES)):
            met = self.attempts[job.key].groups
            if group not in met or met >= present:
                return job
        return None

    def _lease(self, job: Job, group: str, nodes: Collection[str]) -> Lease:
        self.attempts[job.key].begin()
        self.number, now = self.number + 1, time.monotonic()
        lease = Lease(self.number, job)
        self.leases[group] = Leased(lease, group, nodes, now, now)
        self.ledger.leased(group, self._now())
        self.states[job.name] = ChainState("running")
        return lease

    async def heartbeat(self, group: str, number: int, progress: Heartbeat) -> bool:
        """Return True if the worker group should end lease `number`: cancelled, or another's."""
        if (leased := self._current(group, number)) is None:
            return True
        job = leased.lease.job
        leased.hear(progress, time.monotonic())
        self.heard[group] = self._now()
        self.attempts[job.key].progressed(progress.saved or 0)
        if progress.phase == SAVING:
            self.ledger.ended(group, self._now())
        elif progress.step is not None:
            self.ledger.began(group, self._now())
        if len(progress.curve) > self._epochs(job.name):  # a retry repeats the first epochs
            self.curves[job.name] = Curve(progress.curve, progress.epochs)
            await self._tell()
        return self._unwanted(job)

    async def finish(self, group: str, number: int, answer: Answer) -> None:
        """Record the result or fault of the worker group's lease `number`."""
        if self._current(group, number) is None:
            return
        job = self._release(group)
        if isinstance(answer, Fault):
            log.warning("%s: %s\n%s", job.name, answer.reason, answer.trace)
            self.attempts[job.key].groups.add(group)
            await self._retry(job, answer.reason)
        elif answer.failed:
            self.answers[job.key].set_exception(StageFailed(answer.failed))
        else:
            self.answers[job.key].set_result(answer)

    def end(self, group: str, number: int) -> None:
        """Record that the worker group has ended a cancelled job."""
        if self._current(group, number) is not None:
            self._cancel(self._release(group))

    def _current(self, group: str, number: int) -> Leased | None:
        leased = self.leases.get(group)
        return leased if leased is not None and leased.lease.number == number else None

    def _release(self, group: str) -> Job:
        leased = self.leases.pop(group)
        self.leased += time.monotonic() - leased.since
        self.ledger.ended(group, self._now())
        return leased.lease.job

    def _unwanted(self, job: Job) -> bool:
        """Return whether the job is cancelled; all are once the search stops."""
        return self.stopping or (self._scores(job.spec) and job.name in self.cancelled)

    def _scores(self, spec: StageSpec) -> bool:
        return spec.kind == self.plan.space.downstream.kind

    def _cancel(self, job: Job) -> None:
        self.futures.pop(job.key, None)
        self.answers[job.key].set_exception(Stopped(job.name))

    def _cancel_queued(self) -> None:
        for job in [job for job in self.queue if self._unwanted(job)]:
            self.queue.remove(job)
            self._cancel(job)

    def _now(self) -> float:
        return time.monotonic() - self.started

    async def _retry(self, job: Job, reason: str) -> None:
        """Queue a job again after a fault, unless its attempts without progress are exhausted."""
        attempts = self.attempts[job.key]
        if self._unwanted(job):
            self._cancel(job)
        elif damaged := self._damaged(job):
            for key in (*damaged, job.key):
                self.futures.pop(key, None)
            self.answers[job.key].set_exception(InputDamaged(damaged[0]))
        elif attempts.fruitless < self.plan.space.runtime.attempts:
            self.notices.append(f"{job.name}: {reason}; attempt {attempts.total + 1} follows")
            await self._enqueue(job)
        else:
            times = f"{attempts.fruitless} attempts without progress"
            self.answers[job.key].set_exception(MachineFault(f"{reason} ({times})"))

    def _damaged(self, job: Job) -> list[str]:
        """Return which inputs of a job are damaged; none if the disk cannot say so now."""
        try:
            return [key for key in job.spec.inputs.values() if not self.store.recheck(key)]
        except OSError as error:
            log.warning("%s: %s", job.name, error)
            return []

    # -- called by the driver --------------------------------------------------------------------

    async def watch(self) -> None:
        """Take back leases of silent worker groups until the search ends."""
        reason = f"its worker group was silent for {LEASE_SECONDS:.0f} s"
        while not self.stopping:
            await asyncio.sleep(LEASE_SECONDS / 6)
            await self._take_back(lambda it: time.monotonic() - it.beat > LEASE_SECONDS, reason)

    async def nodes_died(self, nodes: Collection[str]) -> None:
        """Take back the leases of worker groups with a worker on one of these Ray nodes."""
        dead, reason = {*nodes}, "a node of its worker group died"
        await self._take_back(lambda it: not dead.isdisjoint(it.nodes), reason)

    async def _take_back(self, lost: Callable[[Leased], bool], reason: str) -> None:
        """Retry the jobs of lost leases; each is checked just before, as a retry may take long."""
        for group in [*self.leases]:
            if (leased := self.leases.get(group)) and lost(leased):
                await self._retry(self._release(group), reason)

    async def end_search(self, fault: str) -> None:
        """End the search for a permanent fault; the first one is reported."""
        self.fault = self.fault or fault
        await self.stop()

    async def stop(self) -> None:
        """Tell all worker groups to end; a running job leaves a checkpoint."""
        async with self.changed:
            self.stopping = True
            self._cancel_queued()
            self.changed.notify_all()

    async def joined(self, group: str) -> None:
        """Return once the worker group has started and asked for work."""
        await self.present[group].wait()

    def status(self) -> Status:
        now = time.monotonic()
        return Status(
            elapsed=self._now(),
            leased=self.leased + sum(now - leased.since for leased in self.leases.values()),
            trained=frozenset(self.trained),
            reused=frozenset(self.reused),
            chains=dict(self.states),
            groups=tuple(leased.state() for leased in self.leases.values()),
            heard=dict(self.heard),
            ledger=self.ledger.entries(self._now()),
            notices=(*self.store.damaged.values(), *self.notices),
            fault=self.fault,
        )
