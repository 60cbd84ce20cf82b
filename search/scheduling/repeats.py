"""Repeats with further seeds: more for the better chains, as in successive rejects. Pure.

while missing := repeats.missing(scores, failed, 3): train(missing)     # a round

Training again gives another score, so the best of many scores is partly luck. Once the policy is
done, the better half of its chains gets a second seed, the better quarter a third, and so on, by
their means so far. Then the leader gets all seeds, and so does every chain that takes the lead. The
baselines always get every seed. After Audibert, Bubeck & Munos, 2010.
"""

from collections.abc import Collection, Mapping
from statistics import fmean

from search.chains.chain import BASELINES
from search.chains.node import Node

FEWEST = 2  # contenders of a round: the leader and one to compare it with


def schedule(chains: int, repeats: int) -> tuple[int, ...]:
    """Return how many chains get a second seed, a third, ...; new leaders add to that."""
    rounds = range(1, repeats)
    return tuple(min(chains, max(FEWEST, -(-chains // 2**number))) for number in rounds)


def missing(scores: Mapping[Node, float], failed: Collection[Node], repeats: int) -> list[Node]:
    """Return what the current round still has to train; nothing when all rounds are over.

    scores: merits. failed: not tried again. repeats: seeds in total. The result depends on the
    scores alone, not on their order: a round is decided by the scores of the rounds before it.
    """
    first = [p for p in _best_of_each(scores) if p.chain[0] not in BASELINES]
    baselines = [p for p in scores if p.chain[0] in BASELINES and p.repeat == 0]
    seeds = dict.fromkeys(first, 1)

    def mean(node: Node) -> float:
        known = (scores.get(node.again(k)) for k in range(seeds[node]))
        return fmean(score for score in known if score is not None)

    def to_train(chosen: Collection[Node]) -> list[Node]:
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


def _best_of_each(scores: Mapping[Node, float]) -> list[Node]:
    """Return one node a chain: the one with the highest first score."""
    best: dict[tuple[str, ...], Node] = {}
    for node in sorted(scores, key=str):
        known = best.get(node.chain)
        if node.repeat == 0 and (known is None or scores[node] > scores[known]):
            best[node.chain] = node
    return sorted(best.values(), key=lambda node: len(node.chain))
