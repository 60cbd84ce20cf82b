"""The scheduler: the next node to train, phase by phase; keeps the journal.

while (node := scheduler.next()) is not None: train(node); scheduler.record(node)
"""

import math
from collections import deque
from collections.abc import Callable

from search.chains.chain import Chain
from search.chains.node import Node
from search.chains.plan import Plan
from search.policies import Policy
from search.report import stored
from search.results.records import StoppedChain
from search.scheduling import repeats
from search.scheduling.early_stopping import Noise, Stop, judge, screen, training_noise
from search.scheduling.finals import Finals
from search.scheduling.journal import Journal
from search.store.sealing import Manifest
from search.store.stage_store import StageStore
from trainables.spec import Score

METRIC = "merit"  # what Tune maximises, see `Measure`


def score_of(manifest: Manifest) -> Score:
    return Score.parse(manifest["score"] or {})


def merit_of(score: Score | None) -> float:
    """Return the merit; NaN without one, as a probe of too few images has none."""
    return score.merit if score and score.measures else math.nan


class Scheduler:
    """Yields frozen probes of the starts, these with all seeds, the policy's choices, the rest.

    Scores in the store are told to the policy at once and never become a trial. Policy and journal
    see the first seed of the chosen nodes, those that the policy asked for; the repeats and the
    final phases depend on the scores alone, so a search resumes in any of them. spent: returns why
    no new work may start, "" while it may. over: that reason, once it has kept a node from being
    trained.
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
        asked, told, stops = journal.replay()
        told = {p: score for p, score in told.items() if self.known(p)}  # still in the store
        asked_for = plan.space.early_stop or math.inf
        self.stops = {
            p: stop for p, stop in stops.items()
            if self.known(p) is None and stop.deviations >= asked_for
        }  # fmt: skip
        self.curves: dict[Node, tuple[float, ...]] = {}
        policy.resume(asked, told, {p: self._bound(stop) for p, stop in self.stops.items()})
        self.first = deque((*plan.frozen(), *self._starts(), *policy.in_flight()))
        self.frozen: dict[Node, Score] = {}
        self.scores = told
        self.chosen = set(asked)
        self.reasons: dict[Node, str] = {}
        self.begun: set[Node] = set()
        self.changes = 0  # counts the changes that a snapshot would show
        self._current: tuple[int, list[Node], Node | None] = (-1, [], None)
        for node in asked:
            self.probed(node)

    def next(self) -> Node | None:
        """Return the next node to train; None if there is none now (see `finished`)."""
        while (node := self._candidate()) is not None:
            if self.known(node) is None:
                return node
            self.probed(node)
            self.record(node)
        return None

    def record(self, node: Node, reason: str = "", stop: Stop | None = None) -> None:
        """Record the end of a trial: stopped, failed for a reason, or else its score is stored."""
        self.changes += 1
        manifest = self.known(node)
        score = score_of(manifest) if manifest else None
        if score is not None:
            (self.frozen if node.frozen else self.scores)[node] = score
        elif stop is not None:
            self.stops[node] = stop
            self.journal.stopped(node, stop)
            self.policy.bounded(node, self._bound(stop))
            return
        else:
            assert reason, f"{node} has no score, no stop and no reason"
            self.reasons[node] = reason
        self.begun.discard(node)
        if node in self.chosen:
            self.journal.told(node, score)
            self.policy.tell(node, score)
        if self.policy.waits:
            self._choose_starts()

    def _choose_starts(self) -> None:
        """Tell the policy the starts' merits once all are known: frozen, or fine-tuned without."""
        known = self.frozen if self.plan.space.probe else self.scores
        wanted = [p for p in self.plan.frozen() or self.plan.baselines() if self._grows(p)]
        if all(p in known or p in self.reasons for p in wanted):
            found = {p.chain.start: known.get(p) for p in wanted}
            self.policy.grow({s: merit_of(score) for s, score in found.items()})

    def _grows(self, start: Node) -> bool:
        return start.chain.start in self.policy.starts

    def probed(self, node: Node) -> None:
        """Tell the policy the node's probes, if they are in the store."""
        spec = self.plan.probe(node)
        manifest = self.store.manifest(spec.key()) if spec else None
        if manifest and node in self.chosen:
            self.policy.probed(node, score_of(manifest))

    def judge(self, node: Node, value: float, epoch: int, epochs: int) -> Stop | None:
        """Return a Stop if the chain can't become the best, as far as noise allows to say.

        Only for chains of several tasks that the policy waits for. value: the merit at `epoch` of
        `epochs`; epoch 0: its probe is known.
        """
        deviations, objective = self.plan.space.early_stop, self.plan.objective
        rivals = {str(p): v for p in self.scores if (v := self.policy.value(p)) is not None}
        waited_for = len(node.chain.tasks) > 1 and node in self.policy.in_flight()
        if deviations is None or not waited_for or not rivals or not (noise := self._noise()):
            return None
        leader, curves = max(rivals.items(), key=lambda item: item[1]), self._curves()
        if epoch:
            return judge(value, epoch, epochs, curves, leader, noise, deviations, objective)
        hint, longest = self.policy.hint(node), max(map(len, curves), default=0)
        return screen(hint, longest, leader, noise, deviations, objective) if hint else None

    def _noise(self) -> Noise | None:
        """Return the noise of one training, by all chains and starts with several seeds."""
        seeds: dict[Node, dict[int, float]] = {}
        for node, score in self.scores.items():
            trained = node.chain.start not in self.plan.features
            if trained and node.labels is None and math.isfinite(score.merit):
                seeds.setdefault(node.again(0), {})[node.repeat] = score.merit
        return training_noise(seeds)

    def _bound(self, stop: Stop) -> float:
        return self.plan.objective.merit(stop.ceiling)

    def pruned(self) -> dict[Chain, str]:
        """Return the untried chains with the reason: the policy's, or a spent budget."""
        if not self.over:
            return self.policy.pruned()
        begun = (p for p in self.policy.in_flight() if p not in self.first)
        known = {p.chain for p in (*self.scores, *self.stops, *self.reasons, *begun)}
        untried = (chain for chain in self.plan.space.chains() if chain not in known)
        left = dict.fromkeys(untried, self.over)
        return left | self.policy.pruned()

    def stopped(self) -> tuple[StoppedChain, ...]:
        """Return the stopped chains that have no score from another node."""
        scored = {node.chain for node in self.scores}
        return tuple(
            StoppedChain(str(p), stop.reason, stop.epoch, stop.epochs, stop.best)
            for p, stop in self.stops.items()
            if p.chain not in scored
        )

    def finished(self) -> bool:
        """Return whether `next` can only return None from now on."""
        return bool(self.over) or self._all_asked()

    def _all_asked(self) -> bool:
        """Return whether nothing is left to ask; later phases wait for the nodes in flight."""
        return not self.first and self._policy_is_done() and not self._phase()[0]

    def _policy_is_done(self) -> bool:
        return self.policy.finished() and not self.policy.in_flight()

    def _curves(self) -> list[tuple[float, ...]]:
        for node in self.scores:
            if node not in self.curves and node.labels is None:
                key = self.plan.score(node).key()
                epochs = stored.history(self.store, key)["train"]
                merit = self.plan.objective.merit
                self.curves[node] = tuple(merit(row["objective"]) for row in epochs)
        return [curve for curve in self.curves.values() if curve]

    def known(self, node: Node) -> Manifest | None:
        """Return the score's manifest if it and all that it needs are in the store, undamaged."""
        *needed, score = self.plan.graph(node)
        if any(self.store.manifest(spec.key()) is None for spec in needed):
            return None
        return self.store.manifest(score.key())

    def _candidate(self) -> Node | None:
        if not self._all_asked() and (spent := self.spent()):
            self.over, self.changes = spent, self.changes + 1
            return None
        node = self._first() or self._asked() or self._later()
        if node is not None:
            self.begun.add(node)
        return node

    def _first(self) -> Node | None:
        return self.first.popleft() if self.first else None

    def _asked(self) -> Node | None:
        if (node := self.policy.ask()) is not None:
            self.chosen.add(node)
            self.journal.asked(node)
        return node

    def _later(self) -> Node | None:
        """Return a node of the phases after the policy."""
        wanted = self._phase()[0] if self._policy_is_done() else []
        return next((p for p in wanted if p not in self.begun), None)

    def best(self) -> Node | None:
        """Return the best chain: what the policy recommends, judged by all selection seeds."""
        return self._phase()[1]

    def finals(self) -> Finals:
        return self._finals(self.best())

    def _finals(self, best: Node | None) -> Finals:
        plan = self.plan
        pool = plan.pool is not None
        return Finals(self.scores, self.chosen, plan.baselines(), best, plan.space, pool)

    def _phase(self) -> tuple[list[Node], Node | None]:
        """Return the nodes that the current phase trains or waits for, and the best chain."""
        if self._current[0] != self.changes:
            self._current = (self.changes, *self._new_phase())
        return self._current[1:]

    def _new_phase(self) -> tuple[list[Node], Node | None]:
        seeds, failed, recommend = self.plan.space.repeats, self.reasons, self.policy.best
        wanted = [p for p in self._starts() if p not in self.scores and p not in failed]
        scores = repeats.selection(self.scores, self.chosen)
        if not wanted:
            wanted, best = repeats.rounds(scores, failed, seeds, recommend)
            if not wanted:
                return self._finals(best).missing(failed), best
        now = recommend(repeats.again(scores))
        return wanted, now if now in self.scores else None

    def _starts(self) -> list[Node]:
        every = range(self.plan.space.repeats)
        return [start.again(k) for start in self.plan.baselines() for k in every]
