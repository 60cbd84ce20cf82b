"""The plan of a search in lines: its chains, the stages that they take, what that costs.

for line in lines(space, policy, images): print(line)
"""

from collections.abc import Iterator

from search.chains.chain import name, stages_naive, stages_shared
from search.chains.plan import estimate
from search.console.live import clock_text
from search.policies import Policy
from search.scheduling import repeats
from search.space import Space


def lines(space: Space, policy: Policy, images: int) -> Iterator[str]:
    """images: to train on."""
    planned, chains = policy.planned(), space.chains()
    yield f"chains    {len(chains)} of up to {space.max_length} tasks"
    for chain in chains:
        yield f"            {name(chain)}"
    span = str(planned.maximum)
    if planned.minimum != planned.maximum:
        span = f"{planned.minimum} to {planned.maximum}"
    naive, shared = stages_naive(chains), stages_shared(chains)
    yield (
        f"stages    {naive} naive, {shared} with shared prefixes, "
        f"{span} under the policy {space.policy.name}"
    )
    again = repeats.schedule(planned.maximum, space.repeats)
    if again:
        rounds = ", ".join(f"the best {n} {k} times" for k, n in enumerate(again, 2))
        yield f"repeats   {rounds}; the baselines {space.repeats} times"
    yield from _cost(space, planned.maximum, sum(again), images)


def _cost(space: Space, stages: int, again: int, images: int) -> Iterator[str]:
    """stages: at most; again: chains trained once more."""
    cost = estimate(space, images)
    total = stages * (cost.stage + cost.score) + space.repeats * cost.score
    total += again * (space.max_length * cost.stage + cost.score)
    yield (
        f"cost      about {clock_text(cost.stage)} a stage, {clock_text(cost.score)} a score "
        f"on one worker; {clock_text(total)} of one worker in all, at most (an estimate)"
    )
    if (seconds := space.budget.worker_seconds) is not None:
        enough = min(int(seconds / (cost.stage + cost.score)), stages)
        yield f"budget    {space.budget}: about {enough} of these stages on one worker"
