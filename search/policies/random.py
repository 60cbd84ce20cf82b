"""Singles, then a seeded random walk over the tree: any child of anything finished, alike likely.

The baseline that a cleverer policy has to beat.
"""

from collections.abc import Sequence

from search.chains.node import Proposal
from search.policies import Policy


class Plugin(Policy):
    def choose(self, candidates: Sequence[Proposal]) -> Proposal | None:
        singles = [proposal for proposal in candidates if len(proposal.chain) == 1]
        return self.rng().choice(singles or candidates)
