"""The statistics of the report: plain functions of numbers, seeded, vectorised.

adjusted = pairwise(accuracies, resampled)      # [n, n] p-values of all pairs, corrected
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


@dataclass(frozen=True)
class Effect:
    """How much scores go with something, and how often chance alone does as well."""

    value: float
    p_value: float


def holm(p_values: Floats) -> Floats:
    """Corrected for their number: below 0.05 all at once with an error of 5 % in any of them."""
    order = np.argsort(p_values)
    factors = len(order) - np.arange(len(order))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def pairwise(accuracies: Floats, resampled: Floats) -> Floats:
    """[n, n] two-sided p-values of the paired differences, Holm-corrected over all pairs.

    accuracies: [n]; resampled: [n, resamples], paired. A difference is measured in its bootstrap
    standard error, so that a p-value can be smaller than one in the number of resamples. All pairs,
    although only those with the winner are shown: the winner was picked after looking, and
    correcting for its pairs alone finds differences among equal chains two to five times too often.
    """
    covariance = np.atleast_2d(np.cov(resampled))
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * covariance, 0.0))
    distance = np.abs(accuracies[:, None] - accuracies)
    size = np.divide(distance, error, out=np.zeros_like(error), where=error > ROUNDING)
    above = np.triu_indices(len(accuracies), 1)
    adjusted = np.ones_like(error)
    adjusted[above] = holm(2 * ndtr(-size[above]))
    return np.minimum(adjusted, adjusted.T)


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
