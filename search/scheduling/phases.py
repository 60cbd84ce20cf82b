"""The nodes of a typical search, phase by phase, as few and as many as it may train. Pure.

found = phases(space, ("scratch",), chains=7, again=(4, 2), most=True)
found.begin, found.chains, found.later      # lists of phases

Nodes of one phase train side by side, and a phase waits for the one before. Which chains will win
is unknown: the longest ones for the most work, singles for the least.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, groupby, islice
from typing import NamedTuple

from search.chains.chain import Chain
from search.chains.node import FRESH, Node
from search.scheduling.finals import FINALISTS, LABELS
from search.space import Space

Phase = list[Node]


class Phases(NamedTuple):
    """The starts, the policy's chains by length, and what comes after them."""

    begin: list[Phase]
    chains: list[Phase]
    later: list[Phase]


def phases(
    space: Space,
    starts: Sequence[str],
    chains: int,
    again: Sequence[int],
    most: bool,
    pool: bool = False,
) -> Phases:
    """Return the phases in their order.

    starts: those that are run. chains: how many the policy tries. again: how many of them get a
    second seed, a third, ... pool: whether there are images without a label.
    """
    tried = list(islice(_chains(space), chains))
    ranked = sorted(tried, key=_length, reverse=most)
    begin = [Node(Chain((), s)).again(k) for s in starts for k in range(space.repeats)]
    levels = [[Node(chain) for chain in level] for _, level in groupby(tried, key=_length)]
    rounds = [[Node(c).again(k) for c in ranked[:n]] for k, n in enumerate(again, 1)]
    leading = [[Node(c).again(k) for c in ranked[:1] for k in range(space.repeats)]]
    later = [*rounds, *leading, *_finals(space, starts, ranked, pool)]
    return Phases([begin], levels, later)


def _chains(space: Space) -> list[Chain]:
    """Return all chains, by length; of one length those that rise if the tasks do come first."""
    lengths = range(1, space.max_length + 1)
    rising = {one for k in lengths for one in combinations(space.tasks, k)}
    if all(chain.tasks in rising for chain in space.chains()):
        return space.chains()
    return sorted(space.chains(), key=lambda chain: (chain.tasks not in rising, _length(chain)))


def _length(chain: Chain) -> int:
    return len(chain.tasks)


def _finals(
    space: Space, starts: Sequence[str], ranked: Sequence[Chain], pool: bool
) -> list[Phase]:
    """Return controls, fresh seeds, label curve and what external test sets judge.

    ranked: the chains tried, the winner first.
    """
    seeds, roots = range(space.repeats), [Chain((), start) for start in starts]
    found: list[Phase] = []
    if space.controls and ranked and len(ranked[0].tasks) > 1:
        best = ranked[0]
        controls = (best.single(best.tasks[-1]).times(len(best.tasks)), best.reverse)
        found.append([Node(chain).again(k) for chain in controls for k in seeds])
    final = [*ranked[:1], *roots]
    fresh = [Node(chain).again(FRESH + k) for chain in final for k in seeds]
    found.append(fresh)
    if space.controls and pool:
        alone = [Node(chain, without_pool=True) for chain in ranked[:1]]
        found.append([node.again(FRESH + k) for node in alone for k in seeds])
    if space.label_curve:
        final = [*ranked[:FINALISTS], *roots]
        found.append([Node(c, labels=part).again(FRESH) for c in final for part in LABELS])
    judged = [*fresh, *map(Node, (*ranked, *roots))]
    for name in space.external if space.test else ():
        found.append([replace(n, external=name) for n in judged if n.chain.start in space.starts])
    return found
