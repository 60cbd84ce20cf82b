"""How many worker groups share one GPU: what memory allows and what is faster together.

    shared = groups_per_gpu(stages, root, cache, most=4)    # shared.groups, shared.reason

A small profile leaves most of a GPU idle. Processes that train as a worker would are put on one
GPU, twice as many in every round, as long as they fit and all together are clearly faster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.spec import StageSpec

MAX_GROUPS = 8  # groups on one GPU
MEMORY_FRACTION = 0.9  # of the memory that may be used
MIN_GAIN = 1.15  # times the images/s that twice as many must give
ROUND_SECONDS = 3.0  # of each round
WAIT_SECONDS = 30.0  # for a GPU


@dataclass(frozen=True)
class SharedGPU:
    """The choice, in a word why, and the images/s of each round."""

    groups: int
    reason: str
    rounds: tuple[float, ...]

    def __str__(self) -> str:
        rounds = [f"{pace:.0f} by {2**k}" for k, pace in enumerate(self.rounds)]
        return f"{self.groups} worker groups a GPU: images/s {', '.join(rounds)}; {self.reason}"


def groups_per_gpu(
    stages: Sequence[StageSpec], root: str | None, cache: str, most: int
) -> SharedGPU:
    """Measured on one GPU of the cluster, for the stage that takes most memory of these.

    root, cache: of the images, as workers get them. most: groups that there is work for.
    """
    place = placement_group([{"GPU": 1}])
    if not place.wait(WAIT_SECONDS):
        remove_placement_group(place)
        return SharedGPU(1, "no GPU was free to measure on", ())
    rounds: list[float] = []
    try:
        return _grow(place, (stages, root, cache), min(most, MAX_GROUPS), rounds)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        return SharedGPU(
            max(1, 2 ** len(rounds) // 2), f"measuring more failed ({reason})", (*rounds,)
        )
    finally:
        remove_placement_group(place)  # and with it the probes


def _grow(place: Any, given: tuple[Any, ...], most: int, rounds: list[float]) -> SharedGPU:
    """Round after round; `rounds` is filled on the way."""
    from trainables.workers.probe import Probe

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
