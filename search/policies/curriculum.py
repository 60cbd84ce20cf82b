"""The default: all singles, then only the chains whose single accuracies strictly rise.

Each step extends towards the longest possible rising chain; among equally long ones, towards the
best singles, compared from the last task on, which decides most of the result. A tie is no rise. A
pair is tried as soon as its two singles are known, so workers need not wait for the slowest single.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import comb

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import Planned, Policy


class Plugin(Policy):
    def choose(self, candidates: Sequence[Node]) -> Node | None:
        if len(candidates[0].chain) == 1:
            return candidates[0]
        singles = self._singles()
        ready = [p for p in candidates if all(task in singles for task in p.chain)]
        return max(ready, key=lambda p: self._promise(p.chain, singles), default=None)

    def excluded(self, chain: Chain) -> str:
        if len(chain) == 1:
            return ""
        for task in chain:
            if not self._possible((task,)):
                return f"the single {task} can't be tried"
            if self.failed(Node((task,))):
                return f"the single {task} failed"
        singles = self._singles()
        for a, b in pairwise(task for task in chain if task in singles):
            if singles[a] >= singles[b]:
                sign = ">" if singles[a] > singles[b] else "="
                return f"not rising: {a} {singles[a]:.1f} {sign} {b} {singles[b]:.1f}"
        return ""

    def planned(self) -> Planned:
        """Return from the case of equal singles to that of distinct ones."""
        singles = sum(self._possible((task,)) for task in self.tasks)
        rising = sum(comb(singles, length) for length in range(1, self.max_length + 1))
        rising = min(rising, sum(1 for _ in self._chains()))
        return Planned(self._within_budget(singles), self._within_budget(rising))

    def _singles(self) -> dict[str, float]:
        values = {task: self.value(Node((task,))) for task in self.tasks}
        return {task: value for task, value in values.items() if value is not None}

    def _promise(self, chain: Chain, singles: dict[str, float]) -> tuple[int, list[float]]:
        """Return length and accuracies, last first, of the best rising chain with this prefix."""
        above = {value for value in singles.values() if value > singles[chain[-1]]}
        more = sorted(above, reverse=True)[: self.max_length - len(chain)]
        return len(chain) + len(more), more + [singles[task] for task in reversed(chain)]
