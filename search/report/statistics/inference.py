"""Tests and corrections: plain functions of numbers, seeded, vectorised.

kept = could_be_best(merits, draws, seeds)    # [n], by multiple comparisons with the best
eta_squared(scores, levels), spearman(scores, rises)    # an Effect: its size and its p-value
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import permutation_test, rankdata

Floats = NDArray[np.float64]
PERMUTATIONS = 10_000
ALL_ORDERS = 8  # values; up to this number all permutations are tried
BATCH = 500  # permutations at once, so that thousands of values fit into memory
ROUNDING = 1e-9
SURE = 0.05  # significance level
Z95 = 1.96  # half the width of a 95 % interval, in standard errors


@dataclass(frozen=True)
class Effect:
    """The size of an effect and its p-value; low, high: its 95 % interval, where it has one."""

    value: float
    p_value: float
    low: float | None = None
    high: float | None = None


def holm(p_values: Floats) -> Floats:
    """Correct p-values for their number by Holm's method (family-wise error rate)."""
    rising = np.sort(p_values)
    factors = np.arange(len(rising), 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(rising * factors), 1.0)
    return adjusted[np.searchsorted(rising, p_values)]


def could_be_best(merits: Floats, draws: Floats, seeds: Sequence[int]) -> NDArray[np.bool_]:
    """Return [n] whether each could be the best of all, by multiple comparisons with the best.

    merits: [n]; draws: their errors, [n, draws], paired; seeds: how many each has. One that is the
    best is kept with a probability of 1 - SURE: it falls out only if another lies above it by more
    standard errors of their difference than any would by chance (Hsu, 1984; Dunnett's critical
    value of each, found from the draws). If all are equal, each is a best one, and of 15 some would
    fall out in two searches of five; so nothing falls out unless the largest of all differences is
    significant.
    """
    draws = (draws - draws.mean(1, keepdims=True)).astype(np.float32)
    scale = _scale(np.atleast_2d(np.cov(draws, bias=True)), seeds).astype(np.float32)
    sizes = ((merits - merits[:, None]) * scale).max(1)
    found = np.ones(len(merits), dtype=bool)
    widest = np.zeros(draws.shape[1], dtype=np.float32)
    for one in range(len(merits)):
        by_chance = ((draws - draws[one]) * scale[one][:, None]).max(0)
        found[one] = sizes[one] <= np.quantile(by_chance, 1 - SURE)
        np.maximum(widest, by_chance, out=widest)
    return found | (sizes.max() <= np.quantile(widest, 1 - SURE))


def _scale(covariance: Floats, seeds: Sequence[int]) -> Floats:
    """Return one over the standard error of every difference: [n, n], 0 on the diagonal.

    It is pooled over the pairs with as many seeds: a chain that was lucky with the few images of a
    rare class has too small an error of its own, which among 64 equal ones finds a difference in
    one search of five. Two with unequal seeds have at least the error of two with the fewer: luck
    has given the other more, of which its mean keeps a part.
    """
    variance = covariance.diagonal()
    error = np.maximum(variance + variance[:, None] - 2 * covariance, 0.0)
    _, kind = np.unique(seeds, return_inverse=True)
    member = np.eye(kind.max() + 1)[kind]
    pairs = member.T @ (1 - np.eye(len(error))) @ member
    pooled = np.sqrt(member.T @ error @ member / np.maximum(pairs, 1))
    fewer = np.minimum(kind, kind[:, None])
    pooled = np.maximum(pooled[kind][:, kind], pooled[fewer, fewer])
    apart = (pooled > ROUNDING) & ~np.eye(len(error), dtype=bool)
    return np.divide(1.0, pooled, out=np.zeros_like(pooled), where=apart)


def two_sided(value: float, draws: Floats) -> float:
    """Return the p-value of a value whose errors are drawn; never 0."""
    errors = np.abs(draws - draws.mean())
    return float((1 + (errors >= abs(value)).sum()) / (1 + len(errors)))


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
    """Return the rank correlation, -1..1, two-sided, with its interval; None if nothing varies."""
    ranks, against = (rankdata(v) - (len(v) + 1) / 2 for v in (scores, others))
    scale = np.sqrt((ranks**2).sum() * (against**2).sum())
    if scale < ROUNDING:
        return None
    found = _permuted(ranks, lambda some: np.abs(some @ against) / scale)
    value = float(ranks @ against / scale)
    return Effect(value, found.p_value, *_interval_of_ranks(value, len(ranks)))


def _interval_of_ranks(value: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a rank correlation of n pairs; (-1, 1) for fewer than four.

    Fisher's z with the standard error of Bonett and Wright (2000), Psychometrika 65, 23-28. A
    perfect order is taken for one with two neighbours exchanged, as z would be infinite.
    """
    if n < 4:
        return -1.0, 1.0
    most = 1 - 6 / (n * (n * n - 1))
    z = np.arctanh(np.clip(value, -most, most))
    half = Z95 * np.sqrt((1 + value**2 / 2) / (n - 3))
    low, high = np.tanh(z - half), np.tanh(z + half)
    return float(min(low, value)), float(max(high, value))


def _permuted(values: Floats, statistic: Callable[[Floats], Floats]) -> Effect:
    """Return the statistic and its permutation p-value. statistic: [some, n] -> [some]."""
    found = permutation_test(
        (values,), lambda some, axis: statistic(np.atleast_2d(some)),  # noqa: ARG005
        permutation_type="pairings", vectorized=True, alternative="greater",
        n_resamples=np.inf if len(values) <= ALL_ORDERS else PERMUTATIONS, batch=BATCH, rng=0,
    )  # fmt: skip
    return Effect(float(np.squeeze(found.statistic)), float(np.squeeze(found.pvalue)))
