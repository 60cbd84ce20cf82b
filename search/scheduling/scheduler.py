"""What to train next: the policy's choices less what is known already, with the journal kept.

while (proposal := questions.next()) is not None: train(proposal); questions.answer(proposal)
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from search.chains.chain import BASELINES, Chain
from search.chains.node import Proposal
from search.chains.plan import Plan
from search.policies import Policy
from search.report import stored
from search.results.records import Stopped
from search.scheduling import repeats
from search.scheduling.early_stopping import Stop, judge
from search.scheduling.journal import Journal
from search.store.stage_store import StageStore
from trainables.spec import Score

METRIC = "balanced_accuracy"


def score_of(result: dict[str, Any]) -> Score:
    extras: dict[str, float] = {k: result[k] for k in ("knn", "linear") if k in result}
    return Score(result[METRIC], result["ci_low"], result["ci_high"], extras)


class Questions:
    """Baselines, then what an interrupted search had in flight, the policy's choices, the repeats.

    What the store knows is told to the policy at once and never becomes a trial. Policies and the
    journal know of the first seed only. spent: why nothing more may be begun, "" as long as
    something may. over: what it said when there was more.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        journal: Journal,
        store: StageStore,
        spent: Callable[[], str] = str,
    ) -> None:
        self.plan, self.policy, self.journal, self.store = plan, policy, journal, store
        self.spent, self.over = spent, ""
        asked, told = journal.replay()
        told = {p: score for p, score in told.items() if self.known(p)}  # not pruned since
        stops = {} if plan.space.early_stop is None else journal.stops()
        self.stops = {p: stop for p, stop in stops.items() if self.known(p) is None}
        self.curves: dict[Proposal, tuple[float, ...]] = {}
        policy.resume(asked, told | {p: stop.score() for p, stop in self.stops.items()})
        self.first: deque[Proposal] = deque((*plan.baselines(), *policy.in_flight()))
        self.scores: dict[Proposal, Score] = {p: score for p, score in told.items() if score}
        self.reasons: dict[Proposal, str] = {}
        self.repeating: set[Proposal] = set()
        self.changes = 0  # rises with everything that a snapshot would show

    def next(self) -> Proposal | None:
        """What has to be trained next; None: nothing now (see `finished`)."""
        while (proposal := self._candidate()) is not None:
            if self.known(proposal) is None:
                return proposal
            self.answer(proposal)
        return None

    def answer(self, proposal: Proposal, reason: str = "", stop: Stop | None = None) -> None:
        """Its trial is over: the score is in the store, or it was stopped, or failed (reason)."""
        self.changes += 1
        manifest = self.known(proposal)
        score = score_of(manifest["result"]) if manifest else None
        if score is not None:
            self.scores[proposal] = score
        elif stop is not None:
            self.stops[proposal] = stop
            self.journal.stopped(proposal, stop)
            self.policy.tell(proposal, stop.score())
            return
        else:
            assert reason, f"{proposal} has no score, no stop and no reason"
            self.reasons[proposal] = reason
        self.repeating.discard(proposal)
        if proposal.repeat == 0 and proposal not in self.plan.baselines():
            self.journal.told(proposal, score)
            self.policy.tell(proposal, score)

    def judge(self, proposal: Proposal, best: float, epoch: int, epochs: int) -> Stop | None:
        """A Stop if a chain can't become the best; never for a single, a baseline, a repeat."""
        margin = self.plan.space.early_stop
        scores = {
            str(p): score.balanced_accuracy
            for p, score in self.scores.items()
            if p.chain[0] not in BASELINES
        }
        if margin is None or len(proposal.chain) == 1 or proposal.repeat or not scores:
            return None
        incumbent = max(scores.items(), key=lambda item: item[1])
        return judge(best, epoch, epochs, self._curves(), incumbent, margin)

    def pruned(self) -> dict[Chain, str]:
        """Chains that are not tried, with the policy's reason or that the budget is spent."""
        if not self.over:
            return self.policy.pruned()
        begun = (p for p in self.policy.in_flight() if p not in self.first)
        known = {p.chain for p in (*self.scores, *self.stops, *self.reasons, *begun)}
        untried = (chain for chain in self.plan.space.chains() if chain not in known)
        left = dict.fromkeys(untried, self.over)
        return left | self.policy.pruned()

    def stopped(self) -> tuple[Stopped, ...]:
        """What was stopped and whose chain has no score from another proposal."""
        scored = {proposal.chain for proposal in self.scores}
        return tuple(
            Stopped(str(p), stop.reason, stop.epoch, stop.epochs, stop.best)
            for p, stop in self.stops.items()
            if p.chain not in scored
        )

    def finished(self) -> bool:
        return bool(self.over) or self._all_asked()

    def _all_asked(self) -> bool:
        """The next round of repeats depends on what is in flight."""
        chosen = not self.first and self.policy.finished()
        if self.plan.space.repeats == 1:
            return chosen
        return chosen and not self.policy.in_flight() and not self._round()

    def _curves(self) -> list[tuple[float, ...]]:
        """Of the fine-tuning behind every score."""
        for proposal in self.scores:
            if proposal not in self.curves:
                key = self.plan.downstream(proposal).key()
                epochs = stored.history(self.store, key)["train"]
                self.curves[proposal] = tuple(row[METRIC] for row in epochs)
        return [curve for curve in self.curves.values() if curve]

    def known(self, proposal: Proposal) -> dict[str, Any] | None:
        """The manifest of its score, if the store has it and, undamaged, all stages before it."""
        if any(self.store.manifest(spec.key()) is None for spec in self.plan.stages(proposal)):
            return None
        return self.store.manifest(self.plan.downstream(proposal).key())

    def _candidate(self) -> Proposal | None:
        if not self._all_asked() and (spent := self.spent()):
            self.over, self.changes = spent, self.changes + 1
            return None
        if self.first:
            return self.first.popleft()
        if (proposal := self.policy.ask()) is not None:
            self.journal.asked(proposal)
            return proposal
        if self.policy.finished() and not self.policy.in_flight():
            waiting = (p for p in self._round() if p not in self.repeating)
            if (proposal := next(waiting, None)) is not None:
                self.repeating.add(proposal)
            return proposal
        return None

    def _round(self) -> list[Proposal]:
        """What the present round of repeats still has to train or to wait for."""
        scores = {p: score.balanced_accuracy for p, score in self.scores.items()}
        return repeats.missing(scores, self.reasons, self.plan.space.repeats)
