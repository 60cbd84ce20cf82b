"""A Gaussian process over chains: the posterior score of every chain, tried or not.

    tree = Tree.of(tasks=4, max_length=3)              # the chains of four tasks, as rows
    belief = Belief(tree, Known(rows, scores, sds, flying, hints, bounds), singles)
    belief.mean(), belief.gain(best), belief.probability(best, margin=0.5)

A chain's score is a sum of unknown normal effects:

    score(chain) = mean + longer·[more than one task] + rise·(fraction of rising less falling steps)
                   + sum over its prefixes p of keep^(stages since p) · step(p)
    step(p) = own[last task] + pair[last two tasks] + rest[p]

and with several starts also their own effects, nearly flat as `mean`, and in step(p) an effect of
the last task from there.

`keep` is the fraction of a stage's effect that survives the next stage, so chains with a common
prefix have correlated scores. `keep` and the effects' sizes come from a small grid: its points are
weighted by marginal likelihood, and predictions are averaged over the best few. `rise` has a
positive prior mean: that is the curriculum heuristic, which the data can overrule. Scores are in
percentage points. A hint is a further, noisier observation. A bound says that one evaluation would
be at most so high (`_censored.py`); bounds leave the grid's weights alone. A chain in flight is
assumed to score its mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtr

from search.policies._censored import pseudo_scores

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

LONGER, RISE = 0.3, 0.3  # prior sd as fractions of the scale; for `rise` the prior mean too
MEAN = 10.0  # prior sd of the mean, around the average score: nearly flat
POINTS, ODDS = 4, 20.0  # most grid points averaged, and how much less likely the last may be
JOINTLY, SAMPLES = 200, 400  # chains and draws in `probability_of_any`
JITTER = 1e-3  # added to every evaluation's sd, which may be 0


class Prior(NamedTuple):
    """A grid point: `keep`, prior sd of own effects (`scale`), other sds as fractions of it."""

    keep: float
    scale: float
    pair: float
    rest: float


GRID = [Prior(*p) for p in product((0.0, 0.3, 0.6), (1.5, 3.0, 6.0), (0.15, 0.5), (0.1, 0.3))]


class Tree:
    """All chains of `tasks` tasks as rows: start by start, shorter ones first, in task order.

    row: of the chains of the first start. start: [row]. size: rows of one start.
    """

    def __init__(self, tasks: int, max_length: int, starts: int = 1) -> None:
        lengths = range(1, max_length + 1)
        self.tasks, self.starts = tasks, starts
        chains = [chain for n in lengths for chain in permutations(range(tasks), n)]
        self.row = {chain: row for row, chain in enumerate(chains)}
        self.size, self.chains = len(chains), chains * starts
        self.start = np.repeat(np.arange(starts), self.size)
        self.length = np.array([len(chain) for chain in self.chains])
        self.path = np.full((len(self.chains), max_length), -1)  # rows of the prefixes
        for row, chain in enumerate(self.chains):
            above = [self.row[chain[:n]] for n in range(1, len(chain) + 1)]
            self.path[row, : len(chain)] = np.array(above) + self.start[row] * self.size
        self.every = np.arange(len(self.chains))
        self.base = max_length + 1  # number base of the codes in `common`
        self.itself = self.length * (1 + self.base + self.base**2)  # code of a chain with itself
        self.rest = {prior: self._rest(prior) for prior in GRID}
        self.steps = {keep: self._steps(keep) for keep in (1.0, *{prior.keep for prior in GRID})}

    @classmethod
    @lru_cache(maxsize=8)
    def of(cls, tasks: int, max_length: int, starts: int = 1) -> "Tree":
        return cls(tasks, max_length, starts)

    def _steps(self, keep: float) -> tuple[Array, Array]:
        """Return each chain's weights of the tasks' own effects and of the transitions."""
        own = np.zeros((self.size, self.tasks))
        pair = np.zeros((self.size, self.tasks, self.tasks))
        for chain, row in self.row.items():
            if len(chain) > 1:
                parent = self.row[chain[:-1]]
                own[row], pair[row] = keep * own[parent], keep * pair[parent]
                pair[row, chain[-2], chain[-1]] += 1
            own[row, chain[-1]] += 1
        both = own, pair.reshape(self.size, -1)
        return np.tile(both[0], (self.starts, 1)), np.tile(both[1], (self.starts, 1))

    def rise(self, singles: Array) -> Array:
        """Return the fraction of rising less falling steps by chain.

        singles: [start, task] or [task], may be NaN.
        """
        own = np.atleast_2d(singles)
        step = np.nan_to_num(np.sign(own[:, None, :] - own[:, :, None]))
        pairs = self.steps[1.0][1][: self.size]
        return (step.reshape(len(own), -1) @ pairs.T).ravel() / np.maximum(self.length - 1, 1)

    def effects(self, prior: Prior, rise: Array, rows: Rows) -> Array:
        """Return [row, effect]: weights times prior sds of every effect but `rest`."""
        own, pair = (part[rows] for part in self.steps[prior.keep])
        longer = (self.length[rows] > 1)[:, None]
        mean = np.full((len(rows), 1), MEAN / prior.scale)
        parts = [own, prior.pair * pair, LONGER * longer, RISE * rise[rows, None], mean]
        if self.starts > 1:
            begun = np.eye(self.starts)[self.start[rows]]
            there = (begun[:, :, None] * own[:, None, :]).reshape(len(rows), -1)
            parts += [MEAN / prior.scale * begun, prior.pair * there]
        return prior.scale * np.hstack(parts)

    def common(self, some: Rows, others: Rows) -> Rows:
        """Encode both lengths and the number of common prefixes of each pair as one integer."""
        lengths = self.length[some][:, None] + self.base * self.length[others][None, :]
        code = self.base * lengths
        for one, other in zip(self.path[some].T, self.path[others].T, strict=True):
            code += (one[:, None] == other[None, :]) & (one >= 0)[:, None]
        return code

    def _rest(self, prior: Prior) -> Array:
        """Return the covariance from common prefixes, indexed by the code of `common`."""
        other, one, shared = np.indices((self.base,) * 3)
        powers = prior.keep ** np.arange(2 * self.base)
        sums = np.concatenate([[0.0], powers[: 2 * self.base - 2 : 2].cumsum()])
        table = powers[np.maximum(one + other - 2 * shared, 0)] * sums[shared]
        return (prior.scale * prior.rest) ** 2 * table.ravel()


class Seen(NamedTuple):
    """Rows of chains, a value of each, and its sd."""

    rows: Rows
    values: Array
    sds: Array

    @classmethod
    def of(cls, found: Sequence[tuple[int, float, float]]) -> "Seen":
        rows, values, sds = zip(*found, strict=True) if found else ((), (), ())
        return cls(np.array(rows, int), np.array(values, float), np.array(sds, float))

    def and_(self, other: "Seen") -> "Seen":
        return Seen(*(np.concatenate(both) for both in zip(self, other, strict=True)))


NOTHING = Seen.of([])


@dataclass(frozen=True)
class Known:
    """Rows of scored chains, their scores and the sd of each evaluation; rows in flight.

    hints: what probes predict of chains without a score. bounds: the most that stopped chains would
    score, by row.
    """

    rows: Rows
    scores: Array
    sds: Array
    flying: Rows
    hints: Seen = NOTHING
    bounds: Mapping[int, float] = field(default_factory=dict)

    @property
    def noise(self) -> float:
        """Return the expected sd of a future evaluation."""
        return float(np.median(self.sds)) + JITTER

    @property
    def told(self) -> Seen:
        """Return scores and hints."""
        return Seen(self.rows, self.scores, self.sds).and_(self.hints)

    @property
    def every(self) -> Rows:
        return np.concatenate([self.told.rows, np.array([*self.bounds], int), self.flying])

    def expected(self, prior: Prior, rise: Array) -> Array:
        """Return the prior mean of every chain."""
        return self.scores.mean() + RISE * prior.scale * rise


class Posterior:
    """The posterior of all chains' scores under one prior."""

    def __init__(self, tree: Tree, prior: Prior, known: Known, rise: Array, common: Rows) -> None:
        """rise: [chain]. common: [chain, row] codes, with the rows in `known.every`."""
        self.tree, self.prior, self.rest = tree, prior, tree.rest[prior]
        self.effects = tree.effects(prior, rise, tree.every)
        before = self.effects @ self.effects[known.every].T + self.rest[common]
        expected = known.expected(prior, rise)
        told = _with_bounds(known, before[known.every], expected)
        noise = np.concatenate([told.sds + JITTER, np.full(len(known.flying), known.noise)])
        root = np.linalg.cholesky(before[known.every] + np.diag(noise**2))
        self.seen = solve_triangular(root, before.T, lower=True, check_finite=False)
        surprise, count = told.values - expected[told.rows], len(told.rows)
        whitened = solve_triangular(root[:count, :count], surprise, lower=True)
        self.mean = expected + self.seen[:count].T @ whitened
        variance = (self.effects**2).sum(1) + self.rest[tree.itself]
        self.variance = np.maximum(variance - (self.seen**2).sum(0), 0)

    def covariance(self, some: Rows, others: Rows) -> Array:
        before = self.effects[some] @ self.effects[others].T
        before += self.rest[self.tree.common(some, others)]
        return before - self.seen[:, some].T @ self.seen[:, others]


def _with_bounds(known: Known, before: Array, expected: Array) -> Seen:
    """Return what was told, and normal scores that stand for the bounds.

    before: [row, row] prior covariance of `known.every`. expected: [chain].
    """
    told = known.told
    if not known.bounds:
        return told
    rows, bounds = np.array([*known.bounds]), np.array([*known.bounds.values()])
    count, both = len(told.rows), len(told.rows) + len(rows)
    seen, cross = before[:count, :count], before[:count, count:both]
    gain = np.linalg.solve(seen + np.diag((told.sds + JITTER) ** 2), cross).T
    mean = expected[rows] + gain @ (told.values - expected[told.rows])
    covariance = before[count:both, count:both] - gain @ cross
    return told.and_(Seen(rows, *pseudo_scores(mean, covariance, bounds, known.noise)))


def evidence(tree: Tree, known: Known, rise: Array, common: Rows) -> Array:
    """Return the log marginal likelihood of scores and hints for each grid point, up to a constant.

    rise: [chain]. common: [row, row] codes of their rows. The residuals form an extra row of the
    covariance, so its Cholesky root whitens them.
    """
    seen = known.told
    told = len(seen.rows)
    matrix = np.zeros((len(GRID), told + 1, told + 1))
    for each, prior in zip(matrix, GRID, strict=True):
        effects = tree.effects(prior, rise, seen.rows)
        each[:told, :told] = effects @ effects.T + tree.rest[prior][common]
        each[:told, :told] += np.diag((seen.sds + JITTER) ** 2)
        each[told, :told] = seen.values - known.expected(prior, rise)[seen.rows]
        each[told, told] = 1e12
    roots = np.linalg.cholesky(matrix)
    scale = np.log(np.diagonal(roots, axis1=1, axis2=2)[:, :told]).sum(1)
    return -scale - (roots[:, told, :told] ** 2).sum(1) / 2


class Belief:
    """The posterior of all chains' scores, averaged over the most likely priors."""

    def __init__(self, tree: Tree, known: Known, singles: Array) -> None:
        """singles: [start, task] or [task] scores in percent, NaN where unknown."""
        rise, told = tree.rise(singles), known.told.rows
        common = tree.common(tree.every, known.every)
        log = evidence(tree, known, rise, common[told, : len(told)])
        points = np.argsort(-log, kind="stable")[:POINTS]
        likely = np.exp(log[points] - log[points[0]])
        points, likely = points[likely > 1 / ODDS], likely[likely > 1 / ODDS]
        self.tree, self.known, self.weight = tree, known, likely / likely.sum()
        self.posteriors = [Posterior(tree, GRID[p], known, rise, common) for p in points]

    def mean(self) -> Array:
        return self._average([posterior.mean for posterior in self.posteriors])

    def gain(self, best: int) -> Array:
        """Return how far an evaluation of each chain is expected to lift it above `best`.

        The knowledge gradient: the mean of the positive part of the future posterior difference.
        """
        found = []
        for p in self.posteriors:
            learnt = p.variance - p.covariance(self.tree.every, np.array([best]))[:, 0]
            sd = np.abs(learnt) / np.sqrt(p.variance + self.known.noise**2) + 1e-9
            z = (p.mean - p.mean[best]) / sd
            found.append(sd * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)))
        return self._average(found)

    def probability(self, best: int, margin: float) -> Array:
        """Return each chain's probability of beating `best` by more than `margin` points."""
        found = []
        for p in self.posteriors:
            shared = p.covariance(self.tree.every, np.array([best]))[:, 0]
            sd = np.sqrt(np.maximum(p.variance + p.variance[best] - 2 * shared, 1e-12))
            found.append(ndtr((p.mean - p.mean[best] - margin) / sd))
        return self._average(found)

    def probability_of_any(
        self, rows: Rows, best: int, margin: float, rng: np.random.Generator
    ) -> float:
        """Return the probability that any of these chains beats `best` by more than `margin`.

        The most promising chains are sampled jointly; the probabilities of the others are added, an
        upper bound.
        """
        probability = self.probability(best, margin)[rows]
        order = np.argsort(-probability, kind="stable")
        some = np.append(rows[order[:JOINTLY]], best)
        found = []
        for p in self.posteriors:
            spread = p.covariance(some, some) + JITTER**2 * np.eye(len(some))
            drawn = np.linalg.cholesky(spread) @ rng.standard_normal((len(some), SAMPLES))
            drawn += p.mean[some][:, None]
            found.append((drawn[:-1].max(0) > drawn[-1] + margin).mean())
        return float(self._average(found)) + probability[order[JOINTLY:]].sum()

    def _average(self, values: Sequence[Array | float]) -> Array:
        return self.weight @ np.stack(values)
