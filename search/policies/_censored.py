"""Expectation propagation for scores of which only an upper bound is known. Pure.

    values, sds = pseudo_scores(mean, covariance, bounds, noise)

A stopped fine-tuning says: score + normal noise of one evaluation <= bound. Each such bound is
replaced by the normal score whose posterior has the same mean and variance, given all others. After
Minka, 2001. For one bound the moments are exact.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

Array = NDArray[np.float64]

SWEEPS, CLOSE = 30, 1e-6  # most passes over all bounds; a smaller change of a precision ends them
VAGUE = 1e-8  # precision of a bound that says nothing


def pseudo_scores(
    mean: Array, covariance: Array, bounds: Array, noise: float
) -> tuple[Array, Array]:
    """Return normal scores and their sds that stand for the bounds.

    mean, covariance: of the stopped chains by all else that is known. noise: sd of one evaluation.
    """
    mean, covariance = mean.copy(), covariance.copy()
    precision, shift = np.zeros(len(mean)), np.zeros(len(mean))
    for _ in range(SWEEPS):
        before = precision.copy()
        for i, bound in enumerate(bounds):
            wider = 1 / covariance[i, i] - precision[i]  # the others' precision: the cavity
            centre = (mean[i] / covariance[i, i] - shift[i]) / wider
            site = _site(centre, 1 / wider, bound, noise)
            change, moved = site[0] - precision[i], site[1] - shift[i]
            column, scale = covariance[:, i].copy(), 1 + change * covariance[i, i]
            mean += column * (moved - change * mean[i]) / scale
            covariance -= np.outer(column, column) * change / scale
            precision[i], shift[i] = site
        if np.abs(precision - before).max() < CLOSE:
            break
    precision = np.maximum(precision, VAGUE)
    return shift / precision, 1 / np.sqrt(precision)


def _site(mean: float, variance: float, bound: float, noise: float) -> tuple[float, float]:
    """Return precision, and precision times mean, of the normal that stands for one bound."""
    width = np.sqrt(variance + noise**2)
    z = (bound - mean) / width
    ratio = np.exp(-(z**2) / 2 - log_ndtr(z)) / np.sqrt(2 * np.pi)
    slope, bend = -ratio / width, -ratio * (z + ratio) / width**2  # of log probability by mean
    rest = 1 + bend * variance
    return -bend / rest, (slope - mean * bend) / rest
