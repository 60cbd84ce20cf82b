"""The long-lived Train worker groups: as many as the cluster holds, growing with it.

Each group is one TorchTrainer whose train loop (trainables/workers/worker.py) leases jobs from the
broker. Ray restarts a group that lost a worker; the broker hands its job out again. Coming up is
all imports in five processes a group, so on few cores one group after the other comes up sooner.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import ray

from search.results.status import Status
from search.space import RuntimeChoice

Resources: TypeAlias = Mapping[str, float]

LOOK_SECONDS = 2.0  # between looks at the cluster: dead nodes, room for another group
LATE_SECONDS = 120.0  # without a word from a worker group, until that is said
RETRY_SECONDS = 5.0
START_CORES = 2  # that a group keeps busy while it comes up
START_SECONDS = 30.0  # after which the next one no longer waits for it
JOIN_SECONDS = 20.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Crew:
    """Up to `limit` groups of so many workers, and what each worker takes.

    per_gpu: workers on one GPU; 0: there are none.
    """

    limit: int
    workers: int
    threads: int
    per_gpu: int

    @classmethod
    def of(
        cls, runtime: RuntimeChoice, nodes: Sequence[Resources], wanted: int, per_gpu: int = 1
    ) -> "Crew":
        """As many groups as are wanted; each node's CPUs shared out among its workers."""
        limit = runtime.groups or wanted
        if any(node.get("GPU") for node in nodes):
            shares = [n["CPU"] // (n["GPU"] * per_gpu) for n in nodes if n.get("GPU")]
        else:
            per_gpu = 0
            cpus = [n["CPU"] for n in nodes if n.get("CPU")]
            at_once = min(limit * runtime.workers, sum(cpus))
            shares = [min(cpus) // -(-at_once // len(cpus))]
        threads = runtime.threads or max(1, int(min(shares)))
        return cls(limit, runtime.workers, threads, per_gpu)

    @property
    def gpus(self) -> float:
        """Of one worker."""
        return 1 / self.per_gpu if self.per_gpu else 0.0

    def fit(self, resources: Resources) -> int:
        """How many groups these resources hold, no more than the limit."""
        by_cpu = resources.get("CPU", 0) // (self.workers * self.threads)
        by_gpu = resources.get("GPU", 0) * self.per_gpu // self.workers if self.per_gpu else by_cpu
        return int(min(by_cpu, by_gpu, self.limit))


class Pool:
    """Keeps as many groups as fit serving the broker until `stopping` is set."""

    def __init__(self, crew: Crew, broker: Any, served: Mapping[str, str], scratch: Path) -> None:
        """broker: the actor; served: its `broker` name and `namespace`, for the workers."""
        self.crew, self.broker, self.scratch = crew, broker, scratch
        self.config = dict(served)
        self.threads: list[threading.Thread] = []
        self.coming: list[Any] = []  # an answer for each group that has not asked for work yet
        self.begun: dict[str, float] = {}  # when each group began to come up
        self.dead = frozenset[str]()  # nodes that are known to have died
        self.stopping = threading.Event()

    def size(self) -> int:
        return max(1, len(self.threads))

    def start(self) -> None:
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def join(self) -> None:
        """Wait for the groups to end, which they do once the broker has told them to stop.

        `stopping` must be set: without it a group that broke would be started again.
        """
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def ended(self) -> bool:
        """Whether nothing of it needs Ray any more; never before `stopping` is set."""
        self.watcher.join(timeout=1.0)
        return not any(thread.is_alive() for thread in (self.watcher, *self.threads))

    def late(self, status: Status) -> tuple[str, ...]:
        """A line for every group that has said nothing for too long, with what it waits for."""
        now = time.monotonic()
        silent = {
            group: status.elapsed - status.heard[group] if group in status.heard else now - begun
            for group, begun in self.begun.items()
        }
        late = [group for group, seconds in silent.items() if seconds > LATE_SECONDS]
        if not late:
            return ()
        return (f"{', '.join(late)}: not up after {LATE_SECONDS:.0f} s; {self._lack()}",)

    def _lack(self) -> str:
        """What a worker group may wait for."""
        need, free = self._per_worker(), ray.available_resources()
        lack = {kind: count for kind, count in need.items() if free.get(kind, 0) < count}
        if lack:
            wanted = ", ".join(f"{count:g} {kind}" for kind, count in lack.items())
            return f"a worker waits for {wanted}, which no node has free"
        return (
            "nodes have room for it: is the program installed on every node, with the same "
            "versions? Ray's logs say more: session_latest/logs in its temporary folder"
        )

    def nodes_that_died(self) -> frozenset[str]:
        """Nodes that are dead and were not when this was called before."""
        dead = frozenset(node["NodeID"] for node in ray.nodes() if not node["Alive"])
        fresh, self.dead = dead - self.dead, dead
        return fresh

    def _watch(self) -> None:
        while not self.stopping.is_set():
            try:
                self._grow()
            except Exception as error:
                if not self.stopping.is_set():  # otherwise Ray is gone, as it should
                    log.warning("cannot read the cluster's resources: %s", error)
            self.stopping.wait(LOOK_SECONDS)

    def _grow(self) -> None:
        resources = ray.cluster_resources()
        wanted, at_once = self.crew.fit(resources), int(resources.get("CPU", 0)) // START_CORES
        while len(self.threads) < wanted and not self.stopping.is_set():
            group = f"group-{len(self.threads)}"
            thread = threading.Thread(target=self._keep, args=(group,), daemon=True, name=group)
            self.threads.append(thread)
            self.begun[group] = time.monotonic()
            thread.start()
            self.coming.append(self.broker.came.remote(group))
            if (late := len(self.coming) - max(at_once, 1) + 1) > 0:
                _, self.coming = ray.wait(self.coming, num_returns=late, timeout=START_SECONDS)

    def _keep(self, group: str) -> None:
        """One group for as long as the search runs, started anew when its controller dies."""
        while not self.stopping.is_set():
            try:
                self._trainer(group).fit()
                return
            except Exception as error:
                if self.stopping.is_set():
                    return
                log.warning("%s ended: %s; starting it again", group, str(error).splitlines()[:1])
                time.sleep(RETRY_SECONDS)

    def _per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.crew.gpus} if self.crew.gpus else {}
        return {"CPU": float(self.crew.threads), **gpu}

    def _trainer(self, group: str) -> Any:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        from trainables.workers.rendezvous import Rendezvous
        from trainables.workers.worker import serve

        return TorchTrainer(
            serve,
            train_loop_config=self.config | {"group": group},
            torch_config=Rendezvous(folder=str(self.scratch)),
            scaling_config=ScalingConfig(
                num_workers=self.crew.workers,
                use_gpu=self.crew.gpus > 0,
                resources_per_worker=self._per_worker(),
            ),
            run_config=RunConfig(
                name=f"{group}-{uuid.uuid4().hex[:6]}",
                storage_path=str(self.scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
