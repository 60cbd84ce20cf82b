"""Means over seeds, by least squares: score = node + seed + noise. Pure.

    means({Node(("a",)): 60.0, Node(("a",), repeat=1): 64.0, Node(("b",)): 61.0})   # b leads

Seed k is the same label subset and order of images for every node, so it may lift or lower them
all. Means of nodes with different seeds are compared after that effect is taken out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from search.chains.node import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def means(scores: Mapping[Node, float]) -> dict[Node, float]:
    """Return the mean of every node over the seeds that any node has, by the node of the first.

    Differences count: a constant may be common to all.
    """
    by_node: dict[Node, dict[int, float]] = {}
    for node in sorted(scores, key=str):  # so that the order of the scores decides no last digit
        by_node.setdefault(node.first(), {})[node.repeat] = scores[node]
    effects = _effects(list(by_node.values()))
    return {
        node: sum(score - effects[seed] for seed, score in own.items()) / len(own)
        for node, own in by_node.items()
    }


def _effects(known: list[dict[int, float]]) -> dict[int, float]:
    """Return the effect of every seed; nodes with one seed say nothing about it."""
    seeds = sorted({seed for own in known for seed in own})
    several = [own for own in known if len(own) > 1]
    if not several:
        return dict.fromkeys(seeds, 0.0)
    import numpy as np

    each = [_centred(np.eye(len(seeds))[[seeds.index(k) for k in own]]) for own in several]
    left = [_centred(np.array([*own.values()])) for own in several]
    found, *_ = np.linalg.lstsq(np.concatenate(each), np.concatenate(left))
    return dict(zip(seeds, found.tolist(), strict=True))


def _centred(values: "NDArray[np.float64]") -> "NDArray[np.float64]":
    centred: NDArray[np.float64] = values - values.mean(0)
    return centred
