"""Singles first, then a uniformly random choice among the children of finished nodes.

The reference that a better policy has to beat.
"""

from collections.abc import Sequence

from search.chains.node import Node
from search.policies import Policy


class Plugin(Policy):
    def choose(self, candidates: Sequence[Node]) -> Node | None:
        singles = [node for node in candidates if len(node.chain.tasks) == 1]
        return self.rng().choice(singles or candidates)
