"""Ray for one search: joined or started, and the worker groups that fit on it. Imports Ray late.

cluster = join(address)
sized = size(plan, wanted, cluster, decode)
with Engine(plan, sized.shape, cluster.namespace, out) as engine: ...
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.chains.chain import Chain
from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.cluster import environment
from search.cluster.group_shape import GroupShape
from search.console import exit
from search.space import hardware
from trainables.errors import UserError

if TYPE_CHECKING:
    from search.cluster.connection import Cluster


@dataclass(frozen=True)
class Sized:
    """The worker groups that fit now: their shape and number, and the device in words.

    sharing: how many share a GPU and why; "" unless it was measured.
    """

    shape: GroupShape
    groups: int
    device: str
    sharing: str = ""

    def __str__(self) -> str:
        shape = self.shape
        return f"{self.groups} worker groups of {shape.workers} x {shape.threads} CPU threads"


def join(address: str | None) -> "Cluster":
    """Return a connection to the cluster at the address, or to a private Ray (None)."""
    environment.prepare(address)
    from search.cluster.connection import Cluster

    cluster = Cluster(address)
    cluster.connect()
    exit.listen()  # Ray puts a handler of its own on SIGTERM
    return cluster


def size(plan: Plan, wanted: int, cluster: "Cluster", decode: Callable[[], None]) -> Sized:
    """Choose the worker groups; UserError if none fits.

    wanted: worker groups that there is work for. decode: called before a GPU is measured.
    """
    resources, runtime = cluster.connect(), plan.space.runtime
    per_gpu, sharing = _per_gpu(plan, resources, wanted, decode)
    shape = GroupShape.of(runtime, cluster.nodes(), wanted, per_gpu)
    groups, device = shape.fit(resources), hardware.describe(resources)
    if groups == 0:
        raise UserError(
            f"runtime.workers={shape.workers}, runtime.threads={shape.threads}: must fit on "
            f"{device} together; try a smaller one"
        )
    return Sized(shape, groups, device, sharing)


def _per_gpu(
    plan: Plan, resources: dict[str, float], wanted: int, decode: Callable[[], None]
) -> tuple[int, str]:
    """Return the worker groups a GPU and why; measured if there is work for more than GPUs."""
    space, runtime, gpus = plan.space, plan.space.runtime, int(resources.get("GPU", 0))
    most = -(-(runtime.groups or wanted) // gpus) if gpus else 1
    if runtime.groups_per_gpu or runtime.workers > 1 or most == 1:
        return runtime.groups_per_gpu or 1, ""
    from search.cluster import gpu_sharing

    decode()
    stages = [plan.stages(Node(Chain((task,))))[0] for task in space.tasks]
    images = (data_spec(space), space.data.root, space.cache)
    found = gpu_sharing.groups_per_gpu(stages, *images, most)
    return found.groups, str(found)
