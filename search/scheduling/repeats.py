"""Repeats with further seeds: more for the better chains, as in successive rejects. Pure.

    wanted, best = repeats.rounds(scores, failed, 3, policy.best)   # wanted: of the current round

Training again gives another score, so the best of many scores is partly luck. Once the policy is
done, the better half of its chains gets a second seed, the better half of those a third, and so on.
The contenders of a round have the same seeds, so what a seed does to all of them decides nothing.
Then the chain that the policy recommends gets all seeds, until the one that it recommends has them.
The starts have every seed from the beginning. After Audibert, Bubeck & Munos, 2010.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import TypeAlias

from search.chains.chain import Chain
from search.chains.node import Node
from trainables.spec import Score

FEWEST = 2  # contenders of a round: the leader and one to compare it with
Recommend: TypeAlias = Callable[[Mapping[Node, Sequence[Score]]], Node | None]


def schedule(chains: int, repeats: int) -> tuple[int, ...]:
    """Return how many chains get a second seed, a third, ...; new leaders add to that."""
    rounds = range(1, repeats)
    return tuple(min(chains, max(FEWEST, -(-chains // 2**number))) for number in rounds)


def rounds(
    scores: Mapping[Node, Score], failed: Collection[Node], repeats: int, recommend: Recommend
) -> tuple[list[Node], Node | None]:
    """Return what the current round still has to train; once all are over, the best chain, too.

    scores: of the chains' selection seeds. failed: not tried again. repeats: seeds in total.
    recommend: the policy's choice, given the scores of further seeds. The result depends on the
    scores alone, not on their order: the scores of earlier rounds decide a round.
    """
    contenders = best_of_each(scores)
    seeds = {p: 1 for p in scores if p.repeat == 0}
    for number, count in enumerate(schedule(len(contenders), repeats), 2):
        rank = _means(scores, contenders, number - 1)
        contenders = sorted(contenders, key=lambda p: rank[p], reverse=True)[:count]
        seeds |= dict.fromkeys(contenders, number)
        if wanted := _missing(scores, failed, seeds):
            return wanted, None
    for node in seeds:  # others may have all seeds, too: as controls, say
        if not _missing(scores, failed, {node: repeats}):
            seeds[node] = repeats
    while True:
        best = recommend(again({p: scores[p] for p in _known(scores, seeds)}))
        if best not in seeds or seeds[best] == repeats:
            return [], best if best in seeds else None
        seeds[best] = repeats
        if wanted := _missing(scores, failed, seeds):
            return wanted, None


def selection(scores: Mapping[Node, Score], known: Collection[Node]) -> dict[Node, Score]:
    """Return the scores that choose among the known nodes: no fresh seed, other labels or set."""
    return {
        p: score
        for p, score in scores.items()
        if p.labels is None and p.external is None and not p.is_fresh and p.first() in known
    }


def again(scores: Mapping[Node, Score]) -> dict[Node, list[Score]]:
    """Return the scores of further seeds in order, by the node of the first."""
    further: dict[Node, list[Score]] = {}
    for node in sorted(scores, key=lambda p: p.repeat):
        if node.repeat:
            further.setdefault(node.first(), []).append(scores[node])
    return further


def best_of_each(scores: Mapping[Node, Score]) -> list[Node]:
    """Return one node a chain: the one with the highest first score."""
    best: dict[Chain, Node] = {}
    for node in sorted(scores, key=str):
        known = best.get(node.chain)
        if node.repeat == 0 and (known is None or scores[node].merit > scores[known].merit):
            best[node.chain] = node
    return sorted(best.values(), key=lambda node: len(node.chain.tasks))


def _means(scores: Mapping[Node, Score], nodes: Sequence[Node], seeds: int) -> dict[Node, float]:
    known = {p: _known(scores, {p: seeds}) for p in nodes}
    return {p: fmean(scores[q].merit for q in own) for p, own in known.items()}


def _every(seeds: Mapping[Node, int]) -> list[Node]:
    return [node.again(k) for node, count in seeds.items() for k in range(count)]


def _known(scores: Mapping[Node, Score], seeds: Mapping[Node, int]) -> list[Node]:
    return [p for p in _every(seeds) if p in scores]


def _missing(
    scores: Mapping[Node, Score], failed: Collection[Node], seeds: Mapping[Node, int]
) -> list[Node]:
    return [p for p in _every(seeds) if p not in scores and p not in failed]
