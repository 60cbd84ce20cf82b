"""Learns what makes a chain good while it searches, and stops when no chain is likely to win.

The singles come first. Then a model of all chains' scores (`_chain_model.py`: last task,
transitions, effects that survive later stages, rising singles) is refitted to every new score and
predicts how far an evaluation is expected to lift each chain above the best one. The policy starts
the path with the highest gain per missing stage, even through a poor prefix.

It recommends the chain with the highest posterior mean, not the luckiest evaluation. It ends when
the probability that any remaining chain beats that one by more than `margin` points falls below
`threshold`. Chains in flight are assumed to score their mean. A stopped chain counts as its bound;
without a score, a chain's probe says what the others' probes and scores make of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from pydantic import Field

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import NOT_AGAIN, Again, Planned, Policy
from search.policies._chain_model import Array, Belief, Known, Rows, Seen, Tree
from trainables.schema import Fraction, Schema


@dataclass
class View:
    """The knowledge at one moment, by rows of the tree; has at least one score."""

    tree: Tree
    known: Known
    left: Rows  # chains still to be tried
    margin: float

    @cached_property
    def belief(self) -> Belief:
        singles = np.full((self.tree.starts, self.tree.tasks), np.nan)
        alone = self.tree.length[self.known.rows] == 1
        start, task = np.divmod(self.known.rows[alone], self.tree.size)
        singles[start, task] = self.known.scores[alone]
        return Belief(self.tree, self.known, singles)

    @cached_property
    def best(self) -> int:
        rows = self.known.rows
        return int(rows[np.argmax(self.belief.mean()[rows])])

    @cached_property
    def probability(self) -> Array:
        return self.belief.probability(self.best, self.margin)

    def over(self, threshold: float, rng: np.random.Generator) -> bool:
        """Return whether no remaining chain is likely to win."""
        if not len(self.left) or self.probability[self.left].max() >= threshold:
            return False
        any_of_them = self.belief.probability_of_any(self.left, self.best, self.margin, rng)
        return any_of_them < threshold


class Plugin(Policy):
    """params: margin (points) and threshold (a probability), which end the search."""

    @dataclass(frozen=True)
    class Params(Schema):
        margin: Annotated[float, Field(ge=0, le=100)] = 0.5
        threshold: Fraction = 0.05

    def prepare(self) -> None:
        self._tree = Tree.of(len(self.tasks), self.max_length, len(self.starts))
        self._chain = [
            Chain(tuple(self.tasks[task] for task in chain), self.starts[start])
            for chain, start in zip(self._tree.chains, self._tree.start, strict=True)
        ]
        self._row = {chain: row for row, chain in enumerate(self._chain)}
        self._allowed = np.array([self._possible(chain) for chain in self._chain])
        self._moment: tuple[int, ...] = ()
        self._view: View | None = None
        self._over = False

    def choose(self, candidates: Sequence[Node]) -> Node | None:
        if len(candidates[0].chain.tasks) == 1:
            return candidates[0]
        view = self._current_view()
        assert view, "a chain of two is open, so a single was told"
        missing, path = self._missing(), self._tree.path
        gain = np.where(missing.any(1), view.belief.gain(view.best), 0.0)
        promise = np.where(missing, gain[path], 0.0).sum(1) / np.maximum(missing.sum(1), 1)
        first = path[np.arange(len(path)), missing.argmax(1)]
        ready = view.left[np.isin(first[view.left], [self._row[p.chain] for p in candidates])]
        return Node(self._chain[first[ready[np.argmax(promise[ready])]]])

    def excluded(self, chain: Chain) -> str:
        view = self._current_view() if len(chain.tasks) > 1 else None
        if not view or not self._over:
            return ""
        probability = view.probability[self._row[chain]]
        percent = f"{probability:.0%}" if probability >= 0.01 else "below 1 %"
        best = self._chain[view.best]
        return f"beats {best} by {view.margin:g} points with probability {percent}"

    def planned(self) -> Planned:
        """Return from the singles alone to all chains."""
        singles = self._most(chain for chain in self._chains() if len(chain.tasks) == 1)
        return Planned(self._within_budget(singles), super().planned().maximum)

    def best(self, again: Again = NOT_AGAIN) -> Node | None:
        """Return the node with the highest posterior mean among those with a score."""
        view = self._new_view(again) if again else self._current_view()
        return Node(self._chain[view.best]) if view else None

    def _current_view(self) -> View | None:
        """Return the view of the nodes asked and told so far; None before the first score."""
        moment = len(self._asked), len(self._told), len(self._bounds), len(self._probes)
        if moment != self._moment:
            self._moment, self._over = moment, False
            self._view = self._new_view()
            if self._view:
                rng = np.random.default_rng(self.rng("stop").getrandbits(32))
                self._over = self._view.over(self.params["threshold"], rng)
        return self._view

    def _new_view(self, again: Again = NOT_AGAIN) -> View | None:
        """again: see `best`; a mean over seeds is that much less noisy."""
        means = {self._row[p.chain]: (p, mean) for p, mean in self.means(again).items()}
        if not means:
            return None
        scores = Seen.of(
            [
                (row, mean, self.noise(p) / (1 + len(again.get(p, ()))) ** 0.5)
                for row, (p, mean) in sorted(means.items())
            ]
        )
        flying = np.array(sorted(self._row[p.chain] for p in self.in_flight()), int)
        bounds = sorted((self._row[p.chain], bound) for p, bound in self._bounds.items())
        known = Known(*scores, flying, self._hints(), dict(bounds))
        return View(self._tree, known, self._left(), self.params["margin"])

    def _hints(self) -> Seen:
        unscored = (*self._bounds, *self.in_flight())
        hints = ((self._row[p.chain], self.hint(p)) for p in unscored)
        return Seen.of(sorted((row, *hint) for row, hint in hints if hint))

    def _left(self) -> Rows:
        """Return the rows not asked yet, within the budget, without a failed prefix."""
        path, missing = self._tree.path, self._missing()
        failed = [self._row[p.chain] for p in self._told if self.failed(p)]
        budget = np.inf if self.budget is None else self.budget - len(self._asked)
        open_ = self._allowed & missing.any(1) & (missing.sum(1) <= budget)
        return np.flatnonzero(open_ & ~np.isin(path, failed).any(1))

    def _missing(self) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        """Return [chain, depth]: whether the stage at this depth has not been asked."""
        asked = [self._row[p.chain] for p in self._asked]
        path = self._tree.path
        return (path >= 0) & ~np.isin(path, asked)
