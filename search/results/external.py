"""The scores on external test sets so far, from the driver's scheduler."""

from search.chains.node import FRESH
from search.results.records import ExternalScore
from search.scheduling.scheduler import Scheduler


def external_scores(scheduler: Scheduler) -> tuple[ExternalScore, ...]:
    """Return what was judged on external test sets, by set, chain and seed."""
    found = [
        ExternalScore(
            node.chain, node.external, node.repeat - FRESH * node.is_fresh, score,
            scheduler.plan.score(node).key(),
        )
        for node, score in scheduler.scores.items()
        if node.external
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.external, str(one.chain), one.seed)))
