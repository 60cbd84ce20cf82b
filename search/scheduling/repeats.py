"""Repeats over seeds, more of them for the contenders, in the manner of successive rejects.

while missing := repeats.missing(scores, failed, 3): train(missing)     # a round

Training again gives another score, so the best of many scores is partly luck. Once the policy is
done, the better half of its chains gets a second seed, the better quarter a third, and so on, by
their means so far; then whichever chain leads, until the leader has them all. The baselines, which
everything is compared with, get every seed. After Audibert, Bubeck & Munos, 2010. Pure.
"""

from collections.abc import Collection, Mapping
from statistics import fmean

from search.chains.chain import BASELINES
from search.chains.node import Proposal

FEWEST = 2  # contenders of a round: the leader and one to be compared with


def schedule(chains: int, repeats: int) -> tuple[int, ...]:
    """How many of the best chains get a second seed, a third, ... (second chances come on top)."""
    rounds = range(1, repeats)
    return tuple(min(chains, max(FEWEST, -(-chains // 2**number))) for number in rounds)


def missing(
    scores: Mapping[Proposal, float], failed: Collection[Proposal], repeats: int
) -> list[Proposal]:
    """What the present round still has to train; nothing when all rounds are over.

    Depends on the scores alone, not on the order they came in: a round is decided by the scores of
    the rounds before it.
    """
    first = [p for p in _best_of_each(scores) if p.chain[0] not in BASELINES]
    baselines = [p for p in scores if p.chain[0] in BASELINES and p.repeat == 0]
    seeds = dict.fromkeys(first, 1)

    def mean(proposal: Proposal) -> float:
        known = (scores.get(proposal.again(k)) for k in range(seeds[proposal]))
        return fmean(score for score in known if score is not None)

    def to_train(chosen: Collection[Proposal]) -> list[Proposal]:
        every = [p.again(k) for p in chosen for k in range(1, seeds.get(p, repeats))]
        return [p for p in every if p not in scores and p not in failed]

    for number, count in enumerate(schedule(len(first), repeats), 2):
        contenders = sorted(first, key=mean, reverse=True)[:count]
        seeds |= dict.fromkeys(contenders, number)
        if wanted := to_train([*baselines, *first]):
            return wanted
    while first and seeds[leader := max(first, key=mean)] < repeats:
        seeds[leader] = repeats
        if wanted := to_train([leader]):
            return wanted
    return []


def _best_of_each(scores: Mapping[Proposal, float]) -> list[Proposal]:
    """Of the proposals of one chain, that with the highest first score."""
    best: dict[tuple[str, ...], Proposal] = {}
    for proposal in sorted(scores, key=str):
        known = best.get(proposal.chain)
        if proposal.repeat == 0 and (known is None or scores[proposal] > scores[known]):
            best[proposal.chain] = proposal
    return sorted(best.values(), key=lambda proposal: len(proposal.chain))
