"""The forecast of a search, which dry run and search share: its chains and stages.

found = forecast(space, policy, images)
found.stages_maximum, found.counts
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.chains.chain import stages_shared
from search.policies import Policy
from search.scheduling import repeats
from search.scheduling.cost import Counts
from search.space import Space


@dataclass(frozen=True)
class Forecast:
    """Counts of chains and stages."""

    space: str
    demo: bool  # built-in images, which say nothing about a user's own
    policy: str
    profile: str
    images: int  # to train on
    chains: tuple[str, ...]
    stages_naive: int  # if every chain were trained on its own
    stages_shared: int  # if every prefix were trained once
    stages_minimum: int  # under the policy
    stages_maximum: int
    repeats: tuple[int, ...]  # how many chains get a second seed, a third, ...
    pool: int = 0  # images for the pretext tasks; 0: those to train on
    external: Mapping[str, int] = field(default_factory=dict)  # images of each external test set

    @property
    def counts(self) -> Counts:
        least, most = self.stages_minimum, self.stages_maximum
        return Counts(least, most, self.repeats, self.images, self.pool, self.external)


def forecast(
    space: Space,
    policy: Policy,
    images: int,
    pool: int = 0,
    external: Mapping[str, int] | None = None,
) -> Forecast:
    """Return the forecast of a search.

    images: the number to train on. pool, external: see `Forecast`.
    """
    planned, chains = policy.planned(), space.chains()
    again = repeats.schedule(min(planned.maximum, len(chains)), space.repeats)
    return Forecast(
        space=space.name,
        demo=space.data.name == "demo",
        policy=str(space.policy),
        profile=space.profile.name,
        images=images,
        chains=tuple(map(str, chains)),
        stages_naive=sum(len(chain.tasks) for chain in chains),
        stages_shared=stages_shared(chains),
        stages_minimum=planned.minimum,
        stages_maximum=planned.maximum,
        repeats=again,
        pool=pool,
        external=external or {},
    )
