"""The final phases of a search, once the best chain is known. Pure.

    finals = Finals(scores, chosen, starts, best, space)
    while missing := finals.missing(failed): train(missing)     # of the current phase

Controls answer whether the best chain is better for its tasks and their order, or only for its
length: the best single's task as often in a row, and its tasks in reverse. Fresh seeds, which no
choice has seen, score the best chain and the starts without the luck of being chosen. The label
curve scores the finalists with fewer and more labels; external test sets judge what the fresh seeds
trained, and every chain. One more control is the best chain with fresh seeds, but without the
images that have no label. All of it depends on the scores alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from search.chains.node import FRESH, Node
from search.chains.seeds import means
from search.scheduling.repeats import best_of_each, selection
from search.space import Space
from trainables.spec import Score

LABELS = (0.01, 0.1, 1.0)  # fractions, of the label curve
FINALISTS = 2  # chains on the label curve: the recommended and its runner-up


@dataclass(frozen=True)
class Finals:
    """What the final phases train, as far as it is known now.

    scores: of all nodes. chosen: the nodes that the policy asked for. starts: those that can be
    run. best: the best chain; None if no chain has a score. space: says which phases there are.
    pool: whether pretext tasks see images without a label.
    """

    scores: Mapping[Node, Score]
    chosen: Collection[Node]
    starts: tuple[Node, ...]
    best: Node | None
    space: Space
    pool: bool = False

    def missing(self, failed: Collection[Node]) -> list[Node]:
        """Return what the current phase still has to train; nothing when all are over."""
        phases = (
            self.controls, self.fresh, self.without_pool, self.label_curve, self.external,
        )  # fmt: skip
        for phase in phases:
            if left := [p for p in phase() if p not in self.scores and p not in failed]:
                return left
        return []

    def controls(self) -> list[Node]:
        """Return the controls, from the best chain's own start, with all selection seeds."""
        best = self.best
        if not self.space.controls or best is None or len(best.chain.tasks) == 1:
            return []
        alone = {best.chain.single(task) for task in self.space.tasks}
        singles = [p for p in self._ranked if p.chain in alone]
        longer = [p.chain.times(len(best.chain.tasks)) for p in singles[:1]]
        repeated = [
            Node.of(chain, dict(p.windows)) for chain, p in zip(longer, singles, strict=False)
        ]
        both = [*repeated, *self._reversed(best)]
        return [p.again(k) for p in both for k in range(self.space.repeats)]

    def _reversed(self, best: Node) -> list[Node]:
        """Return the chain in reverse; [] if the policy's own try of it has no score."""
        chain = best.chain.reverse
        if any(p.chain == chain for p in self.chosen):
            return [p for p in self._ranked if p.chain == chain]
        return [Node.of(chain, dict(best.windows))]

    def fresh(self) -> list[Node]:
        """Return the best chain, then the starts, the leading one first, with all fresh seeds."""
        finalists = [*filter(None, [self.best]), *self._starts]
        return [p.again(FRESH + k) for p in finalists for k in range(self.space.repeats)]

    def without_pool(self) -> list[Node]:
        """Return the best chain without the pool, with all fresh seeds."""
        if not (self.pool and self.space.controls and self.best):
            return []
        alone, seeds = replace(self.best, without_pool=True), self.space.repeats
        return [alone.again(FRESH + k) for k in range(seeds)]

    def label_curve(self) -> list[Node]:
        """Return the recommended, its runner-up and the starts with every number of labels."""
        if not self.space.label_curve:
            return []
        nodes = [*self._finalists(), *self._starts]
        return [replace(p, repeat=FRESH, labels=labels) for p in nodes for labels in LABELS]

    def external(self) -> list[Node]:
        """Return the fresh seeds on every external test set, then the first seeds of all chains.

        The latter choose nothing: they tell whether attention goes with the score elsewhere.
        """
        names = self.space.external if self.space.test else ()
        judged = [*self.fresh(), *self._ranked, *self._starts]
        networks = [p for p in judged if p.chain.start in self.space.starts]
        return [replace(p, external=name) for name in names for p in networks]

    def _finalists(self) -> list[Node]:
        """Return the chains among the recommended and its runner-up.

        If a start is recommended, the best chain is the runner-up.
        """
        best, start = self.best, self.leading_start
        if best is None:
            return []
        own, other = self._fresh_mean(best), self._fresh_mean(start)
        start_leads = start is not None and (own is None or other is None or other >= own)
        others = [p for p in self._ranked if p.chain != best.chain]
        return [best, *others][: FINALISTS - start_leads]

    @property
    def leading_start(self) -> Node | None:
        """The start with the highest mean over its selection seeds."""
        return next(iter(self._starts), None)

    def fresh_missing(self, failed: Mapping[Node, str], ended: str) -> str:
        """Return why best chain and leading start lack fresh seeds; "" if they have them all.

        failed: the reasons. ended: why the search ended before.
        """
        if self.best is None or self.leading_start is None:
            return f"no {'start' if self.best else 'chain'} has a score"
        compared = 2 * self.space.repeats
        lacking = [p for p in self.fresh()[:compared] if p not in self.scores]
        told = (f"{p}: {failed[p]}" for p in lacking if p in failed)
        return next(told, ended if lacking else "")

    @cached_property
    def _means(self) -> dict[Node, float]:
        """The means of starts and of the chains that the policy asked for."""
        chose = selection(self.scores, {*self.chosen, *self.starts})
        seeds: dict[Node, dict[int, float]] = {}
        for node in sorted(chose, key=str):
            seeds.setdefault(node.first(), {})[node.repeat] = chose[node].merit
        return {p: mean for p, mean in means(seeds, self.starts).items() if p in chose}

    @cached_property
    def _ranked(self) -> list[Node]:
        """One node a chain, the best by its mean first."""
        chains = best_of_each({p: self.scores[p] for p in self._means if p not in self.starts})
        return sorted(chains, key=lambda p: self._means[p], reverse=True)

    @cached_property
    def _starts(self) -> list[Node]:
        known = [p for p in self.starts if p in self._means]
        return sorted(known, key=lambda p: self._means[p], reverse=True)

    def _fresh_mean(self, node: Node | None) -> float | None:
        seeds = [node.again(FRESH + k) for k in range(self.space.repeats)] if node else []
        known = [self.scores[p].merit for p in seeds if p in self.scores]
        return fmean(known) if known else None


def planned(space: Space, pool: bool = False) -> tuple[int, int]:
    """Return how many stages and scores the final phases train at most, after the repeats."""
    seeds, longest = space.repeats, space.max_length
    networks = len(space.run_starts)
    starts = networks + len(space.baselines.features)
    stages, scores = seeds * longest, seeds * (1 + starts)
    if space.controls and longest > 1:
        stages += 2 * (seeds * longest - 1)  # their first stages are singles, in the store
        scores += 2 * seeds
    if space.controls and pool:
        stages += seeds * longest
        scores += seeds
    if space.label_curve:
        stages += longest  # of the runner-up
        scores += (FINALISTS + starts) * len(LABELS)
    if space.test:
        scores += len(space.external) * (seeds * (1 + networks) + networks + len(space.chains()))
    return stages, scores
