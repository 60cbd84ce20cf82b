"""The scores on external test sets so far, from the driver's scheduler."""

from search.chains.node import FRESH
from search.results.records import ExternalScore
from search.scheduling.scheduler import Scheduler


def external_scores(scheduler: Scheduler, fresh: bool = True) -> tuple[ExternalScore, ...]:
    """Return what was judged on external test sets, by set, chain and seed.

    fresh: of the finalists' fresh seeds; else of the first seeds of all chains and starts.
    """
    found = [
        ExternalScore(
            node.chain, node.external, node.repeat - FRESH * node.is_fresh, score,
            scheduler.plan.score(node).key(),
        )
        for node, score in scheduler.scores.items()
        if node.external and node.is_fresh == fresh
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.external, str(one.chain), one.seed)))
