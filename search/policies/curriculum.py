"""The default: all singles, then only the chains whose single accuracies strictly rise.

Each step extends towards the longest possible rising chain; among equally long ones, towards the
best singles, compared from the last task on, which decides most of the result. A tie is no rise.
Singles are those of the chain's own start. A pair is tried as soon as its two singles are known, so
workers need not wait for the slowest single.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import comb

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import Planned, Policy


class Plugin(Policy):
    def choose(self, candidates: Sequence[Node]) -> Node | None:
        if len(candidates[0].chain.tasks) == 1:
            return candidates[0]
        known = {start: self._singles(start) for start in self.starts}
        ready = [p for p in candidates if known[p.chain.start].keys() >= {*p.chain.tasks}]
        promise = {p: self._promise(p.chain, known[p.chain.start]) for p in ready}
        return max(ready, key=lambda p: promise[p], default=None)

    def excluded(self, chain: Chain) -> str:
        if len(chain.tasks) == 1:
            return ""
        for single in map(chain.single, chain.tasks):
            if not self._possible(single):
                return f"the single {single} can't be tried"
            if self.failed(Node(single)):
                return f"the single {single} failed"
        singles = self._singles(chain.start)
        for a, b in pairwise(task for task in chain.tasks if task in singles):
            if singles[a] >= singles[b]:
                sign = ">" if singles[a] > singles[b] else "="
                return f"not rising: {a} {singles[a]:.1f} {sign} {b} {singles[b]:.1f}"
        return ""

    def planned(self) -> Planned:
        """Return from the case of equal singles to that of distinct ones."""
        chains = Counter(chain.start for chain in self._chains())
        singles = Counter(chain.start for chain in self._chains() if len(chain.tasks) == 1)
        lengths = range(1, self.max_length + 1)
        rising = {s: sum(comb(n, length) for length in lengths) for s, n in singles.items()}
        most = Counter({start: min(rising[start], chains[start]) for start in rising})
        fewest, largest = (
            sum(n for _, n in counts.most_common(self.max_starts)) for counts in (singles, most)
        )
        return Planned(self._within_budget(fewest), self._within_budget(largest))

    def _singles(self, start: str) -> dict[str, float]:
        values = {task: self.value(Node(Chain((task,), start))) for task in self.tasks}
        return {task: value for task, value in values.items() if value is not None}

    def _promise(self, chain: Chain, singles: dict[str, float]) -> tuple[int, list[float]]:
        """Return length and accuracies, last first, of the best rising chain with this prefix."""
        above = {value for value in singles.values() if value > singles[chain.tasks[-1]]}
        more = sorted(above, reverse=True)[: self.max_length - len(chain.tasks)]
        own = [singles[task] for task in reversed(chain.tasks)]
        return len(own) + len(more), more + own
