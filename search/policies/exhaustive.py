"""Every chain, shorter ones first.

Breadth first is also what keeps many workers busy: the deepest paths still to go are started first.
"""

from collections.abc import Sequence

from search.chains.node import Proposal
from search.policies import Planned, Policy


class Plugin(Policy):
    def choose(self, candidates: Sequence[Proposal]) -> Proposal | None:
        return candidates[0]

    def planned(self) -> Planned:
        proposals = tuple(map(Proposal, self._chains()))[: self.budget]
        return Planned(len(proposals), len(proposals), proposals)
