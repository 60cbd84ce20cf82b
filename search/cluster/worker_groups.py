"""The long-lived Train worker groups: as many as fit on the cluster, growing with it.

Each is one TorchTrainer whose train loop (trainables/workers/worker.py) leases jobs from the
broker. Ray restarts one that lost a worker, and the broker leases its job again. A start is mostly
imports in five processes, so on few cores it is faster to start them in turn.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from search.cluster.group_shape import GroupShape
from search.results.status import Status
from trainables.errors import first_line

POLL_SECONDS = 2.0  # between polls of the cluster for room for another worker group
LATE_SECONDS = 120.0  # silence of a worker group before a notice is shown
RETRY_SECONDS = 5.0
START_CORES = 2  # kept busy by a worker group while it starts
START_SECONDS = 30.0  # the next worker group waits no longer for the last one
JOIN_SECONDS = 20.0
log = logging.getLogger(__name__)


class WorkerGroups:
    """Keeps as many worker groups running as fit, until `stopping` is set."""

    def __init__(
        self, shape: GroupShape, broker: Any, served: Mapping[str, str], scratch: Path
    ) -> None:
        """broker: the actor. served: its name and namespace, for the workers. scratch: folder."""
        self.shape, self.broker, self.scratch = shape, broker, scratch
        self.config = dict(served)
        self.threads: list[threading.Thread] = []
        self.starting: list[Any] = []  # a future for each that has not asked for work yet
        self.begun: dict[str, float] = {}  # start time by worker group
        self.dead = frozenset[str]()  # Ray nodes known to have died
        self.stopping = threading.Event()

    def size(self) -> int:
        return max(1, len(self.threads))

    def start(self) -> None:
        self.watcher = threading.Thread(target=self._watch, daemon=True)
        self.watcher.start()

    def join(self) -> None:
        """Wait for the end of all, which comes once the broker tells them to stop.

        `stopping` must be set, else a failed one would be restarted.
        """
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def ended(self) -> bool:
        """Return whether none needs Ray any more; False before `stopping` is set."""
        self.watcher.join(timeout=1.0)
        return not any(thread.is_alive() for thread in (self.watcher, *self.threads))

    def late(self, status: Status) -> tuple[str, ...]:
        """Return a notice that names the silent ones and what they wait for; () if none."""
        now = time.monotonic()
        silent = {
            group: status.elapsed - status.heard[group] if group in status.heard else now - begun
            for group, begun in self.begun.items()
        }
        late = [group for group, seconds in silent.items() if seconds > LATE_SECONDS]
        if not late:
            return ()
        return (f"{', '.join(late)}: silent for {LATE_SECONDS:.0f} s; {self._lack()}",)

    def _lack(self) -> str:
        """Return what a worker group may be waiting for."""
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
        """Return the Ray nodes that died since the last call."""
        dead = frozenset(node["NodeID"] for node in ray.nodes() if not node["Alive"])
        fresh, self.dead = dead - self.dead, dead
        return fresh

    def _watch(self) -> None:
        while not self.stopping.is_set():
            try:
                self._grow()
            except Exception as error:
                if not self.stopping.is_set():  # else Ray was shut down on purpose
                    log.warning("cannot read the cluster's resources: %s", error)
            self.stopping.wait(POLL_SECONDS)

    def _grow(self) -> None:
        resources = ray.cluster_resources()
        wanted, at_once = self.shape.fit(resources), int(resources.get("CPU", 0)) // START_CORES
        while len(self.threads) < wanted and not self.stopping.is_set():
            group = f"group-{len(self.threads)}"
            thread = threading.Thread(target=self._keep, args=(group,), daemon=True, name=group)
            self.threads.append(thread)
            self.begun[group] = time.monotonic()
            thread.start()
            self.starting.append(self.broker.joined.remote(group))
            if (late := len(self.starting) - max(at_once, 1) + 1) > 0:
                _, self.starting = ray.wait(self.starting, num_returns=late, timeout=START_SECONDS)

    def _keep(self, group: str) -> None:
        """Run one until the search ends; restart it if its controller dies."""
        while not self.stopping.is_set():
            try:
                self._trainer(group).fit()
                return
            except Exception as error:
                if self.stopping.is_set():
                    return
                log.warning("%s ended: %s; restarting it", group, first_line(error))
                time.sleep(RETRY_SECONDS)

    def _per_worker(self) -> dict[str, float]:
        gpu = {"GPU": self.shape.gpus} if self.shape.gpus else {}
        return {"CPU": float(self.shape.threads), **gpu}

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
                num_workers=self.shape.workers,
                use_gpu=self.shape.gpus > 0,
                resources_per_worker=self._per_worker(),
            ),
            run_config=RunConfig(
                name=f"{group}-{uuid.uuid4().hex[:6]}",
                storage_path=str(self.scratch),
                failure_config=FailureConfig(max_failures=-1),
            ),
        )
