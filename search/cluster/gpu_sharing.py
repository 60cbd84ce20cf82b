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

MOST = 8  # groups on one GPU
SPARE = 0.9  # of the memory that may be used
GAIN = 1.15  # times the images/s that twice as many must give
SECONDS = 3.0  # of each round
WAIT_SECONDS = 30.0  # for a GPU


@dataclass(frozen=True)
class Shared:
    """The choice, in a word why, and the images/s of each round."""

    groups: int
    reason: str
    paces: tuple[float, ...]

    def __str__(self) -> str:
        rounds = [f"{pace:.0f} by {2**k}" for k, pace in enumerate(self.paces)]
        return f"{self.groups} worker groups a GPU: images/s {', '.join(rounds)}; {self.reason}"


def groups_per_gpu(stages: Sequence[StageSpec], root: str | None, cache: str, most: int) -> Shared:
    """Measured on one GPU of the cluster, for the stage that takes most memory of these.

    root, cache: of the images, as workers get them. most: groups that there is work for.
    """
    place = placement_group([{"GPU": 1}])
    if not place.wait(WAIT_SECONDS):
        remove_placement_group(place)
        return Shared(1, "no GPU was free to measure on", ())
    paces: list[float] = []
    try:
        return _grow(place, (stages, root, cache), min(most, MOST), paces)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        return Shared(max(1, 2 ** len(paces) // 2), f"measuring more failed ({reason})", (*paces,))
    finally:
        remove_placement_group(place)  # and with it the probes


def _grow(place: Any, given: tuple[Any, ...], most: int, paces: list[float]) -> Shared:
    """Round after round; `paces` is filled on the way."""
    from trainables.workers.probe import Probe

    strategy = PlacementGroupSchedulingStrategy(place)
    actor: Any = ray.remote(Probe).options(
        num_cpus=0, num_gpus=1 / MOST, scheduling_strategy=strategy
    )
    probes: list[Any] = []
    while True:
        count = 2 ** len(paces)
        fresh = [actor.remote(*given) for _ in range(count - len(probes))]
        used, total = max(ray.get([probe.footprint.remote() for probe in fresh]))
        probes += fresh
        paces.append(sum(ray.get([probe.pace.remote(SECONDS) for probe in probes])))
        if count > 1 and paces[-1] < GAIN * paces[-2]:
            return Shared(count // 2, "more are not faster", (*paces,))
        if 2 * count > most:
            return Shared(count, "there is no work for more", (*paces,))
        if 2 * used > SPARE * total:
            return Shared(count, "there is no memory for more", (*paces,))
