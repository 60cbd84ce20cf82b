"""Frozen records of a search, collected on the driver's thread, which owns the scheduler.

Collector(scheduler).results()    # one record a chain, for tracker and report
snapshot(scheduler)               # for the live view
"""

from collections.abc import Collection

from search.chains.chain import BASELINES, IMAGENET, Chain
from search.chains.node import Node
from search.results.records import ChainResult, Repeat
from search.results.status import ChainState, Snapshot
from search.scheduling.repeats import schedule
from search.scheduling.scheduler import Scheduler
from trainables.spec import Score


class Collector:
    """The state of a search at this moment. only: the chains to collect; all by default."""

    def __init__(self, scheduler: Scheduler, only: Collection[Chain] | None = None) -> None:
        self.scheduler, self.plan, self.only = scheduler, scheduler.plan, only
        scores, stops = scheduler.scores, scheduler.stops
        self.order = {node: place for place, node in enumerate(scores)}
        self.scores = {p: score for p, score in scores.items() if self._asked_for(p.chain)}
        self.stops = {p: stop for p, stop in stops.items() if self._asked_for(p.chain)}

    def results(self) -> list[ChainResult]:
        """Return one record for every chain and baseline, made from the chain's best node."""
        found: dict[Chain, ChainResult] = {}
        repeated = self._repeated()
        for node, score in self._first():
            stages = self.plan.stages(node)
            found[node.chain] = ChainResult(
                node.chain, "done", score, self._remark(node),
                stages[-1].key() if stages else None, self.plan.score(node).key(),
                self._probe(node), self.order[node], tuple(repeated.get(node, ())),
            )  # fmt: skip
        for node, stop in self.stops.items():
            key = self.plan.stages(node)[-1].key()
            stopped = ChainResult(node.chain, "stopped", reason=stop.reason, stage_key=key)
            found.setdefault(node.chain, stopped)
        for node, reason in self.scheduler.reasons.items():
            found.setdefault(node.chain, ChainResult(node.chain, "failed", reason=reason))
        for chain, reason in self.scheduler.pruned().items():
            found.setdefault(chain, ChainResult(chain, "pruned", reason=reason))
        if IMAGENET not in self.plan.weights:
            found[(IMAGENET,)] = ChainResult((IMAGENET,), "not run", reason="no weights")
        every = [*self.plan.space.chains(), *((baseline,) for baseline in BASELINES)]
        return [
            found.get(chain, ChainResult(chain, "planned"))
            for chain in every
            if self._asked_for(chain)
        ]

    def stages(self) -> set[str]:
        """Return the keys of all stages of scored or stopped chains, repeats included."""
        asked = [*self.scores, *self.stops]
        return {spec.key() for p in asked for spec in self.plan.stages(p)}

    def repeats(self) -> set[str]:
        """Return the keys of stages trained with a later seed."""
        again = [p for p in self.scores if p.repeat]
        return {spec.key() for p in again for spec in self.plan.stages(p)}

    def _first(self) -> list[tuple[Node, Score]]:
        """Return the nodes of the first seed with their scores, the best last."""
        first = [(p, score) for p, score in self.scores.items() if p.repeat == 0]
        return sorted(first, key=lambda item: item[1].merit)

    def _asked_for(self, chain: Chain) -> bool:
        return self.only is None or chain in self.only

    def _repeated(self) -> dict[Node, list[Repeat]]:
        found: dict[Node, list[Repeat]] = {}
        for node in sorted((p for p in self.scores if p.repeat), key=lambda p: p.repeat):
            stages = self.plan.stages(node)
            again = Repeat(
                node.repeat, self.scores[node], self.plan.score(node).key(), self._probe(node),
                stages[-1].key() if stages else None,
            )  # fmt: skip
            found.setdefault(node.again(0), []).append(again)
        return found

    def _probe(self, node: Node) -> str | None:
        spec = self.plan.probe(node)
        return spec.key() if spec else None

    def _remark(self, node: Node) -> str:
        reasons = self.scheduler.reasons.items()
        failed = [f"{p}: {reason}" for p, reason in reasons if p.again(0) == node]
        return "; ".join([str(node)] * bool(node.windows) + failed)


def snapshot(scheduler: Scheduler) -> Snapshot:
    """Return the state of all chains for the live view."""
    over, plan, most = scheduler.over, scheduler.plan, scheduler.policy.planned().maximum
    seeds = plan.space.repeats
    scored = {str(node): ChainState("done", "", score) for node, score in scheduler.scores.items()}
    ended = {str(p): ChainState("stopped", stop.reason) for p, stop in scheduler.stops.items()}
    return Snapshot(
        chains=scored | ended,
        done=len(scheduler.scores) + len(scheduler.stops) + len(scheduler.reasons),
        total=most + sum(schedule(most, seeds)) + seeds * len(plan.baselines()),
        notice=f"{over}: running jobs are finished, no new work starts" if over else "",
    )
