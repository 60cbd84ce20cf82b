"""What to train next: the policy's choices less what is known already, with the journal kept.

while (proposal := questions.next()) is not None: train(proposal); questions.answer(proposal)
"""

from collections import deque
from typing import Any

from search.journal import Journal
from search.plan import Plan
from search.policies import Policy
from search.proposal import Proposal
from search.store import StageStore
from trainables.spec import Score

METRIC = "balanced_accuracy"


def score_of(result: dict[str, Any]) -> Score:
    extras: dict[str, float] = {k: result[k] for k in ("knn", "linear") if k in result}
    return Score(result[METRIC], result["ci_low"], result["ci_high"], extras)


class Questions:
    """Baselines first, then what an interrupted search had in flight, then the policy's choices.

    What the store knows is told to the policy at once and never becomes a trial.
    """

    def __init__(self, plan: Plan, policy: Policy, journal: Journal, store: StageStore) -> None:
        self.plan, self.policy, self.journal, self.store = plan, policy, journal, store
        asked, told = journal.replay()
        policy.resume(asked, told)
        self.first: deque[Proposal] = deque((*plan.baselines(), *policy.in_flight()))
        self.scores: dict[Proposal, Score] = {p: score for p, score in told.items() if score}
        self.reasons: dict[Proposal, str] = {}

    def next(self) -> Proposal | None:
        """What has to be trained next; None: nothing now (see `finished`)."""
        while (proposal := self._candidate()) is not None:
            if self._known(proposal) is None:
                return proposal
            self.answer(proposal)
        return None

    def answer(self, proposal: Proposal, reason: str = "its trial was lost") -> None:
        """The proposal's trial is over: its score is in the store, or it failed for the reason."""
        manifest = self._known(proposal)
        score = score_of(manifest["result"]) if manifest else None
        if score is not None:
            self.scores[proposal] = score
        else:
            self.reasons[proposal] = reason
        if proposal not in self.plan.baselines():
            self.journal.told(proposal, score)
            self.policy.tell(proposal, score)

    def finished(self) -> bool:
        return not self.first and self.policy.finished()

    def _known(self, proposal: Proposal) -> dict[str, Any] | None:
        return self.store.manifest(self.plan.downstream(proposal).key())

    def _candidate(self) -> Proposal | None:
        if self.first:
            return self.first.popleft()
        proposal = self.policy.ask()
        if proposal is not None:
            self.journal.asked(proposal)
        return proposal
