"""Tests and corrections: plain functions of numbers, seeded, vectorised.

adjusted = against(accuracies, resampled, one=3)    # [n] p-values, corrected over all pairs
eta_squared(scores, levels), spearman(scores, rises)    # an Effect: its size and its p-value
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import permutation_test, rankdata

Floats = NDArray[np.float64]
PERMUTATIONS = 10_000
ALL_ORDERS = 8  # values; up to this number all permutations are tried
BATCH = 500  # permutations at once, so that thousands of values fit into memory
ROUNDING = 1e-9
ROWS = 256  # compared with all others at once: thousands of chains have millions of pairs


@dataclass(frozen=True)
class Effect:
    """The size of an effect and its p-value."""

    value: float
    p_value: float


def holm(p_values: Floats, some: Floats | None = None) -> Floats:
    """Correct p-values for their number by Holm's method (family-wise error rate).

    some: the p-values to return, all by default.
    """
    rising = np.sort(p_values)
    factors = np.arange(len(rising), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(rising * factors), 1.0)
    return adjusted[np.searchsorted(rising, p_values if some is None else some)]


def against(accuracies: Floats, resampled: Floats, one: int) -> Floats:
    """Return [n] two-sided p-values of the differences to `one`, corrected over all pairs.

    accuracies: [n]; resampled: [n, resamples], paired. A difference is divided by its bootstrap
    standard error, so that a p-value can be below 1 / resamples. All pairs count, although only the
    winner's are shown: it was selected by its score, and correcting for its pairs alone finds
    differences among equal chains two to five times too often.
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
    """Return the standard deviation over seeds, and its noise in the resampled means.

    seeds: the accuracies of each chain, one a seed. The standard deviation is assumed equal for all
    chains and pooled, so that two or three seeds a chain are enough; None if no chain has two. The
    noise is [n, resamples], with heavier tails the fewer degrees of freedom there are.
    """
    counts = np.array([len(some) for some in seeds])
    freedom = int((counts - 1).sum())
    if freedom == 0:
        return None, np.zeros((len(seeds), resamples))
    spread = sum(float(np.square(np.subtract(some, np.mean(some))).sum()) for some in seeds)
    std = (spread / freedom) ** 0.5
    rng = np.random.default_rng(0)
    unsure = np.sqrt(freedom / rng.chisquare(freedom, resamples))
    draws = rng.standard_normal((len(seeds), resamples)) * unsure
    return std, std * draws / np.sqrt(counts)[:, None]


def eta_squared(scores: Sequence[float], levels: Sequence[str]) -> Effect | None:
    """Return the fraction of variance between levels, 0..1; None if nothing varies."""
    names, code = np.unique(levels, return_inverse=True)
    values = np.asarray(scores) - np.mean(scores)
    total = (values**2).sum()
    if len(names) < 2 or total < ROUNDING:
        return None
    member = np.eye(len(names))[code] / np.sqrt(np.bincount(code))
    return _permuted(values, lambda some: ((some @ member) ** 2).sum(1) / total)


def spearman(scores: Sequence[float], others: Sequence[float]) -> Effect | None:
    """Return the rank correlation, -1..1, two-sided; None if nothing varies."""
    ranks, against = (rankdata(v) - (len(v) + 1) / 2 for v in (scores, others))
    scale = np.sqrt((ranks**2).sum() * (against**2).sum())
    if scale < ROUNDING:
        return None
    found = _permuted(ranks, lambda some: np.abs(some @ against) / scale)
    return Effect(float(ranks @ against / scale), found.p_value)


def _permuted(values: Floats, statistic: Callable[[Floats], Floats]) -> Effect:
    """Return the statistic and its permutation p-value. statistic: [some, n] -> [some]."""
    found = permutation_test(
        (values,), lambda some, axis: statistic(np.atleast_2d(some)),  # noqa: ARG005
        permutation_type="pairings", vectorized=True, alternative="greater",
        n_resamples=np.inf if len(values) <= ALL_ORDERS else PERMUTATIONS, batch=BATCH, rng=0,
    )  # fmt: skip
    return Effect(float(np.squeeze(found.statistic)), float(np.squeeze(found.pvalue)))
