"""The shape of the worker groups that fit on a machine or cluster. Pure; imports no Ray.

shape = GroupShape.of(space.runtime, [{"CPU": 8.0}], wanted=15)
shape.fit({"CPU": 8.0})     # 8 worker groups of one thread
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from search.space.schema import RuntimeChoice
from trainables.errors import UserError

Resources: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class GroupShape:
    """The shape of the worker groups: their most (`limit`), workers in each, what a worker uses.

    threads: CPU threads a worker. per_gpu: workers on one GPU; 0 without GPUs.
    """

    limit: int
    workers: int
    threads: int
    per_gpu: int

    @classmethod
    def of(
        cls, runtime: RuntimeChoice, nodes: Sequence[Resources], wanted: int, per_gpu: int = 1
    ) -> "GroupShape":
        """Choose the shape; a node's CPUs are divided among its workers.

        nodes: resources of each Ray node. wanted: worker groups with work. per_gpu: see the class.
        """
        limit = runtime.groups or wanted
        nodes = [node for node in nodes if node.get("CPU")]
        if not nodes:
            raise UserError("--address: must have CPUs; try once the cluster's nodes have joined")
        if any(node.get("GPU") for node in nodes):
            threads = [n["CPU"] // (n["GPU"] * per_gpu) for n in nodes if n.get("GPU")]
        else:
            per_gpu = 0
            cpus = [n["CPU"] for n in nodes]
            at_once = min(limit * runtime.workers, sum(cpus))
            threads = [min(cpus) // -(-at_once // len(cpus))]
        fit = runtime.threads or max(1, int(min(threads)))
        return cls(limit, runtime.workers, fit, per_gpu)

    @property
    def gpus(self) -> float:
        """GPUs per worker, e.g. 0.5 if two worker groups share one."""
        return 1 / self.per_gpu if self.per_gpu else 0.0

    def fit(self, resources: Resources) -> int:
        """Return how many worker groups fit on these resources, `limit` at most."""
        by_cpu = resources.get("CPU", 0) // (self.workers * self.threads)
        by_gpu = resources.get("GPU", 0) * self.per_gpu // self.workers if self.per_gpu else by_cpu
        return int(min(by_cpu, by_gpu, self.limit))
