"""What became of a search's questions, frozen; made on the driver's thread, which owns them.

Outcome(questions).results()    # one record a chain, for tracker and report
snapshot(questions)             # for the live view
"""

from collections.abc import Collection

from search.chains.chain import BASELINES, IMAGENET, Chain
from search.chains.node import Proposal
from search.results.records import ChainResult, Repeat
from search.results.status import ChainState, Snapshot
from search.scheduling.repeats import schedule
from search.scheduling.scheduler import Questions
from trainables.spec import Score


class Outcome:
    """As of this moment. only: the chains it is about; all by default."""

    def __init__(self, questions: Questions, only: Collection[Chain] | None = None) -> None:
        self.questions, self.plan, self.only = questions, questions.plan, only
        scores, stops = questions.scores, questions.stops
        self.order = {proposal: place for place, proposal in enumerate(scores)}
        self.scores = {p: score for p, score in scores.items() if self._asked_for(p.chain)}
        self.stops = {p: stop for p, stop in stops.items() if self._asked_for(p.chain)}

    def results(self) -> list[ChainResult]:
        """One record a chain and a baseline: of a chain's proposals, the best."""
        found: dict[Chain, ChainResult] = {}
        repeated = self._repeated()
        for proposal, score in self._first():
            stages = self.plan.stages(proposal)
            found[proposal.chain] = ChainResult(
                proposal.chain, "done", score, self._remark(proposal),
                stages[-1].key() if stages else None, self.plan.downstream(proposal).key(),
                self.order[proposal], tuple(repeated.get(proposal, ())),
            )  # fmt: skip
        for proposal, stop in self.stops.items():
            key = self.plan.stages(proposal)[-1].key()
            stopped = ChainResult(proposal.chain, "stopped", reason=stop.reason, stage_key=key)
            found.setdefault(proposal.chain, stopped)
        for proposal, reason in self.questions.reasons.items():
            found.setdefault(proposal.chain, ChainResult(proposal.chain, "failed", reason=reason))
        for chain, reason in self.questions.pruned().items():
            found.setdefault(chain, ChainResult(chain, "pruned", reason=reason))
        if self.plan.imagenet_digest is None:
            found[(IMAGENET,)] = ChainResult((IMAGENET,), "not run", reason="no weights")
        every = [*self.plan.space.chains(), *((baseline,) for baseline in BASELINES)]
        return [
            found.get(chain, ChainResult(chain, "planned"))
            for chain in every
            if self._asked_for(chain)
        ]

    def stages(self) -> set[str]:
        """Keys of all finished stages of the chains scored or stopped so far, repeats and all."""
        asked = [*self.scores, *self.stops]
        return {spec.key() for p in asked for spec in self.plan.stages(p)}

    def repeats(self) -> set[str]:
        """Those of them that are of further seeds."""
        again = [p for p in self.scores if p.repeat]
        return {spec.key() for p in again for spec in self.plan.stages(p)}

    def _first(self) -> list[tuple[Proposal, Score]]:
        """With the first seed, the best of a chain last."""
        first = [(p, score) for p, score in self.scores.items() if p.repeat == 0]
        return sorted(first, key=lambda item: item[1].balanced_accuracy)

    def _asked_for(self, chain: Chain) -> bool:
        return self.only is None or chain in self.only

    def _repeated(self) -> dict[Proposal, list[Repeat]]:
        found: dict[Proposal, list[Repeat]] = {}
        for proposal in sorted((p for p in self.scores if p.repeat), key=lambda p: p.repeat):
            again = Repeat(self.scores[proposal], self.plan.downstream(proposal).key())
            found.setdefault(proposal.again(0), []).append(again)
        return found

    def _remark(self, proposal: Proposal) -> str:
        reasons = self.questions.reasons.items()
        failed = [f"{p}: {reason}" for p, reason in reasons if p.again(0) == proposal]
        return "; ".join([str(proposal)] * bool(proposal.windows) + failed)


def snapshot(questions: Questions) -> Snapshot:
    over = questions.over
    return Snapshot(
        chains=_states(questions),
        done=len(questions.scores) + len(questions.stops) + len(questions.reasons),
        total=_total(questions),
        notice=f"{over}: what is in flight is finished, nothing more is begun" if over else "",
    )


def _states(questions: Questions) -> dict[str, ChainState]:
    scored = {
        str(p): ChainState("done", "", score.balanced_accuracy, (score.ci_low, score.ci_high))
        for p, score in questions.scores.items()
    }
    return scored | {str(p): ChainState("stopped", s.reason) for p, s in questions.stops.items()}


def _total(questions: Questions) -> int:
    """Scores in all, as far as is known now."""
    plan, chains = questions.plan, questions.policy.planned().maximum
    seeds = plan.space.repeats
    return chains + sum(schedule(chains, seeds)) + seeds * len(plan.baselines())
