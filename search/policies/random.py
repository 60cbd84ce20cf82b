"""A seeded random walk over the tree: any child of anything finished, all equally likely.

The baseline that a cleverer policy has to beat.
"""

from collections.abc import Sequence

from search.policies import Policy
from search.proposal import Proposal


class Plugin(Policy):
    def choose(self, candidates: Sequence[Proposal]) -> Proposal | None:
        return self.rng().choice(candidates)
