"""GPU sharing: measure how many worker groups one GPU serves best.

    shared = groups_per_gpu(stages, data, root, cache, most=4)    # shared.groups, shared.reason

A small profile leaves most of a GPU idle. Probes that train like workers run on one GPU, twice as
many in every round, as long as memory allows and the total throughput clearly rises.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.spec import DataSpec, StageSpec

MAX_GROUPS = 8  # on one GPU
MEMORY_FRACTION = 0.9  # of the GPU's memory that may be used
MIN_GAIN = 1.15  # factor in images/s that doubling the worker groups must give
ROUND_SECONDS = 3.0
WAIT_SECONDS = 30.0  # for a free GPU


@dataclass(frozen=True)
class SharedGPU:
    """The chosen number of worker groups on a GPU, the reason, and the images/s of each round."""

    groups: int
    reason: str
    rounds: tuple[float, ...]

    def __str__(self) -> str:
        shown = [f"{speed:.0f} by {2**k}" for k, speed in enumerate(self.rounds)]
        return f"{self.groups} worker groups a GPU: images/s {', '.join(shown)}; {self.reason}"


def groups_per_gpu(
    stages: Sequence[StageSpec], data: DataSpec, root: str | None, cache: str, most: int
) -> SharedGPU:
    """Measure on one GPU of the cluster, with the stage that needs most memory.

    data, root, cache: the images, as workers get them. most: worker groups with work.
    """
    place = placement_group([{"GPU": 1}])
    if not place.wait(WAIT_SECONDS):
        remove_placement_group(place)
        return SharedGPU(1, "no GPU was free to measure on", ())
    rounds: list[float] = []
    try:
        return _grow(place, (stages, data, root, cache), min(most, MAX_GROUPS), rounds)
    except ray.exceptions.RayError as error:
        reason = f"measuring more failed ({str(error).strip().splitlines()[-1]})"
        return SharedGPU(max(1, 2 ** len(rounds) // 2), reason, (*rounds,))
    finally:
        remove_placement_group(place)  # kills the probes


def _grow(place: Any, given: tuple[Any, ...], most: int, rounds: list[float]) -> SharedGPU:
    """Double the probes until it stops paying off; append each round's images/s to `rounds`."""
    from trainables.workers.gpu_probe import Probe

    strategy = PlacementGroupSchedulingStrategy(place)
    actor: Any = ray.remote(Probe).options(
        num_cpus=0, num_gpus=1 / MAX_GROUPS, scheduling_strategy=strategy
    )
    probes: list[Any] = []
    while True:
        count = 2 ** len(rounds)
        fresh = [actor.remote(*given) for _ in range(count - len(probes))]
        used, total = max(ray.get([probe.footprint.remote() for probe in fresh]))
        probes += fresh
        rounds.append(sum(ray.get([probe.pace.remote(ROUND_SECONDS) for probe in probes])))
        if count > 1 and rounds[-1] < MIN_GAIN * rounds[-2]:
            return SharedGPU(count // 2, "more are not faster", (*rounds,))
        if 2 * count > most:
            return SharedGPU(count, "there is no work for more", (*rounds,))
        if 2 * used > MEMORY_FRACTION * total:
            return SharedGPU(count, "there is no memory for more", (*rounds,))
