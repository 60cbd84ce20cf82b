"""The statistics of the report: plain functions of numbers, seeded, vectorised.

adjusted = against(accuracies, resampled, one=3)    # [n] p-values, corrected over all pairs
eta_squared(scores, levels), spearman(scores, rises)    # an Effect: its size and its p-value
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import rankdata

Floats = NDArray[np.float64]
PERMUTATIONS = 10_000
ALL_ORDERS = 8  # values; up to here every order is tried and the p-value is exact
BATCH = 500  # permutations at a time, so that thousands of values fit into memory
ROUNDING = 1e-9
ROWS = 256  # compared with all others at a time: thousands of chains have millions of pairs


@dataclass(frozen=True)
class Effect:
    """How much scores go with something, and how often chance alone does as well."""

    value: float
    p_value: float


def holm(p_values: Floats, some: Floats | None = None) -> Floats:
    """Corrected for their number: below 0.05 all at once with an error of 5 % in any of them.

    some: of these p-values, those to return; all by default.
    """
    rising = np.sort(p_values)
    factors = np.arange(len(rising), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(rising * factors), 1.0)
    return adjusted[np.searchsorted(rising, p_values if some is None else some)]


def against(accuracies: Floats, resampled: Floats, one: int) -> Floats:
    """[n] two-sided p-values of the differences to one of them, Holm-corrected over all pairs.

    accuracies: [n]; resampled: [n, resamples], paired. A difference is measured in its bootstrap
    standard error, so that a p-value can be smaller than one in the number of resamples. All pairs,
    although only those with the winner are shown: the winner was picked after looking, and
    correcting for its pairs alone finds differences among equal chains two to five times too often.
    """
    n = len(accuracies)
    spread = resampled - resampled.mean(1, keepdims=True)
    spread /= np.sqrt(resampled.shape[1] - 1)
    variance = (spread**2).sum(1)
    p_values = [np.empty(0)]  # of the pairs (0, 1), (0, 2), ... (1, 2), ...
    for start in range(0, n, ROWS):
        rows, rest = slice(start, start + ROWS), slice(start, None)
        doubled = 2 * spread[rows] @ spread[rest].T
        error = np.sqrt(np.maximum(variance[rows, None] + variance[rest] - doubled, 0.0))
        distance = np.abs(accuracies[rows, None] - accuracies[rest])
        size = np.divide(distance, error, out=np.zeros_like(error), where=error > ROUNDING)
        above = np.triu(np.ones(size.shape, dtype=bool), 1)
        p_values.append(2 * ndtr(-size[above]))
    every = np.concatenate(p_values)
    others = np.delete(np.arange(n), one)
    low, high = np.minimum(others, one), np.maximum(others, one)
    found = np.ones(n)
    found[others] = holm(every, every[low * (2 * n - low - 1) // 2 + high - low - 1])
    return found


def training_noise(seeds: Sequence[Sequence[float]], resamples: int) -> tuple[float | None, Floats]:
    """Standard deviation of one training over seeds, and what it adds to the resampled means.

    seeds: the accuracies of each chain, one a seed. The deviation is taken to be the same for all
    chains, pooled over them, so that two or three seeds a chain are enough. Returns it, None where
    no chain has two seeds, and [n, resamples] draws for the means, heavier in the tails the less
    the deviation is known by.
    """
    counts = np.array([len(some) for some in seeds])
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return None, np.zeros((len(seeds), resamples))
    spread = sum(float(np.square(np.subtract(some, np.mean(some))).sum()) for some in seeds)
    deviation = (spread / freedom) ** 0.5
    rng = np.random.default_rng(0)
    unsure = np.sqrt(freedom / rng.chisquare(freedom, resamples))
    draws = rng.standard_normal((len(seeds), resamples)) * unsure
    return deviation, deviation * draws / np.sqrt(counts)[:, None]


def eta_squared(scores: Sequence[float], levels: Sequence[str]) -> Effect | None:
    """The share of the variance that lies between levels, 0..1; None where nothing varies."""
    names, code = np.unique(levels, return_inverse=True)
    values = np.asarray(scores) - np.mean(scores)
    total = (values**2).sum()
    if len(names) < 2 or total < ROUNDING:
        return None
    member = np.eye(len(names))[code] / np.sqrt(np.bincount(code))
    return _permuted(values, lambda some: ((some @ member) ** 2).sum(1) / total)


def spearman(scores: Sequence[float], others: Sequence[float]) -> Effect | None:
    """Rank correlation, -1..1, its p-value two-sided; None where nothing varies."""
    ranks, against = (rankdata(v) - (len(v) + 1) / 2 for v in (scores, others))
    scale = np.sqrt((ranks**2).sum() * (against**2).sum())
    if scale < ROUNDING:
        return None
    found = _permuted(ranks, lambda some: np.abs(some @ against) / scale)
    return Effect(float(ranks @ against / scale), found.p_value)


def _permuted(values: Floats, statistic: Callable[[Floats], Floats]) -> Effect:
    """The statistic and the share of permutations of the values that reach it.

    statistic: [some, n] -> [some].
    """
    reached = float(statistic(values[None])[0])
    if len(values) <= ALL_ORDERS:
        every = values[np.array(list(permutations(range(len(values)))))]
        return Effect(reached, float((statistic(every) > reached - ROUNDING).mean()))
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(PERMUTATIONS // BATCH):
        some = rng.permuted(np.tile(values, (BATCH, 1)), axis=1)
        hits += int((statistic(some) > reached - ROUNDING).sum())
    return Effect(reached, (1 + hits) / (1 + PERMUTATIONS))
