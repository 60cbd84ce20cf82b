"""Frozen records of a search, collected on the driver's thread, which owns the scheduler.

Collector(scheduler).results()        # one record a chain, for tracker and report
Collector(scheduler).label_curve()    # its points
snapshot(scheduler)               # for the live view
"""

from collections.abc import Collection, Sequence

from search.chains.chain import Chain, repeats_a_task
from search.chains.node import FRESH, Node
from search.results.records import ChainResult, ExternalScore, LabelPoint, Repeat
from search.results.status import ChainState, Snapshot
from search.scheduling.finals import planned
from search.scheduling.repeats import schedule
from search.scheduling.scheduler import Scheduler


class Collector:
    """The state of a search at this moment. only: the chains to collect; all by default."""

    def __init__(self, scheduler: Scheduler, only: Collection[Chain] | None = None) -> None:
        self.scheduler, self.plan, self.only = scheduler, scheduler.plan, only
        scores, stops = scheduler.scores, scheduler.stops
        self.asked = {p.chain for p in (*scheduler.chosen, *self.plan.baselines())}
        self.order = {node: place for place, node in enumerate(scores)}
        self.scores = {p: score for p, score in scores.items() if self._asked_for(p.chain)}
        self.stops = {p: stop for p, stop in stops.items() if self._asked_for(p.chain)}

    def results(self) -> list[ChainResult]:
        """Return one record for every chain, start and control, made from its best node."""
        repeated = self._repeated()
        found = {
            p.chain: self._done(p, repeated.get(p, ()), repeated.get(p.again(FRESH), ()))
            for p in self._first()
        }
        for node, stop in self.stops.items():
            key = self.plan.stages(node)[-1].key()
            stopped = ChainResult(node.chain, "stopped", reason=stop.reason, stage_key=key)
            found.setdefault(node.chain, stopped)
        for node, reason in self.scheduler.reasons.items():
            failed = ChainResult(
                node.chain, "failed", reason=reason, control=self._is_control(node)
            )
            found.setdefault(node.chain, failed)
        for chain, reason in self.scheduler.pruned().items():
            found.setdefault(chain, ChainResult(chain, "pruned", reason=reason))
        space = self.plan.space
        baselines = [Chain((), name) for name in space.baseline_names]
        for chain in baselines:
            found.setdefault(chain, self._unscored(chain))
        every = [*space.chains(), *baselines]
        every += [chain for chain in found if repeats_a_task(chain)]
        return [
            found.get(chain, ChainResult(chain, "planned"))
            for chain in every
            if self._asked_for(chain)
        ]

    def _unscored(self, start: Chain) -> ChainResult:
        """Return the record of a start without a score; its frozen probe may be known."""
        if start.start in {*self.plan.space.starts} - {*self.plan.space.run_starts}:
            return ChainResult(start, "not run", reason="no weights")
        return ChainResult(start, "planned", probe_key=self._probe(Node(start)))

    def stages(self) -> set[str]:
        """Return the keys of all stages of scored or stopped chains, repeats included."""
        asked = [*self.scores, *self.stops]
        return {spec.key() for p in asked for spec in self.plan.stages(p)}

    def repeats(self) -> set[str]:
        """Return the keys of stages that no choice of the policy needs: later seeds, controls."""
        chosen = [p for p in (*self.scores, *self.stops) if p in self.scheduler.chosen]
        return self.stages() - {spec.key() for p in chosen for spec in self.plan.stages(p)}

    def label_curve(self) -> tuple[LabelPoint, ...]:
        """Return the points of the label curve so far, by chain and labels."""
        points = [
            LabelPoint(p.chain, p.labels, score, self.plan.score(p).key(), self._probe(p))
            for p, score in self.scores.items()
            if p.labels is not None
        ]
        return tuple(sorted(points, key=lambda point: (str(point.chain), point.labels)))

    def external(self, fresh: bool) -> tuple[ExternalScore, ...]:
        """Return what was judged on external test sets so far, by set, chain and seed.

        fresh: of the finalists' fresh seeds; else of the first seeds of all chains and starts.
        """
        found = [
            ExternalScore(
                p.chain, p.external, p.repeat - FRESH * p.is_fresh, score, self.plan.score(p).key()
            )
            for p, score in self.scores.items()
            if p.external and p.is_fresh == fresh
        ]
        return tuple(sorted(found, key=lambda one: (one.external, str(one.chain), one.seed)))

    def without_pool(self) -> tuple[Repeat, ...]:
        """Return the fresh seeds of the best chain without the pool, so far."""
        found = [
            Repeat(p.repeat - FRESH, score, self.plan.score(p).key())
            for p, score in self.scores.items()
            if p.without_pool
        ]
        return tuple(sorted(found, key=lambda one: one.seed))

    def _first(self) -> list[Node]:
        """Return the scored nodes of the first seed; of a chain's, the best or recommended last."""
        first = [p for p in self.scores if p == p.first()]
        best = self.scheduler.best()
        return sorted(first, key=lambda p: (p == best, self.scores[p].merit))

    def _done(self, node: Node, again: Sequence[Repeat], fresh: Sequence[Repeat]) -> ChainResult:
        return ChainResult(
            node.chain, "done", self.scores[node], self._remark(node), self._stage(node),
            self.plan.score(node).key(), self._probe(node), self.order[node], tuple(again),
            tuple(fresh), self._is_control(node), node.chain.start in self.plan.features,
        )  # fmt: skip

    def _is_control(self, node: Node) -> bool:
        """Return whether it is no start and the policy did not ask for the chain."""
        return node.chain not in self.asked

    def _asked_for(self, chain: Chain) -> bool:
        return self.only is None or chain in self.only

    def _repeated(self) -> dict[Node, list[Repeat]]:
        """Return the later seeds by the node of the first, fresh ones by that of FRESH."""
        found: dict[Node, list[Repeat]] = {}
        whole = [p for p in self.scores if p.repeat and p == p.first().again(p.repeat)]
        for node in sorted(whole, key=lambda p: p.repeat):
            first = FRESH if node.is_fresh else 0
            again = Repeat(
                node.repeat - first, self.scores[node], self.plan.score(node).key(),
                self._probe(node), self._stage(node),
            )  # fmt: skip
            found.setdefault(node.again(first), []).append(again)
        return found

    def _stage(self, node: Node) -> str | None:
        stages = self.plan.stages(node)
        return stages[-1].key() if stages else None

    def _probe(self, node: Node) -> str | None:
        spec = self.plan.probe(node)
        return spec.key() if spec else None

    def _remark(self, node: Node) -> str:
        reasons = self.scheduler.reasons.items()
        failed = [f"{p}: {reason}" for p, reason in reasons if p.first() == node]
        return "; ".join([str(node)] * bool(node.windows) + failed)


def snapshot(scheduler: Scheduler) -> Snapshot:
    """Return the state of all chains for the live view."""
    over, plan, most = scheduler.over, scheduler.plan, scheduler.policy.planned().maximum
    seeds, (_, final) = plan.space.repeats, planned(plan.space, plan.pool is not None)
    starts = seeds * len(plan.baselines()) + len(plan.frozen())
    known = scheduler.scores | {p: score for p, score in scheduler.frozen.items() if score.measures}
    scored = {str(node): ChainState("done", "", score) for node, score in known.items()}
    ended = {str(p): ChainState("stopped", stop.reason) for p, stop in scheduler.stops.items()}
    ended_early = len(scheduler.stops) + len(scheduler.reasons)
    return Snapshot(
        chains=scored | ended,
        done=len(scheduler.scores) + len(scheduler.frozen) + ended_early,
        total=most + sum(schedule(min(most, len(plan.space.chains())), seeds)) + starts + final,
        notice=f"{over}: running jobs are finished, no new work starts" if over else "",
    )
