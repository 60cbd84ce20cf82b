"""Scores of several seeds: a model of chain + seed, fitted by least squares. Pure.

    fit({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8, 1: 70.9}})    # effects, squares, degrees
    means({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8}})           # comparable among chains

Seed k is the same subset of labels and the same order of images for every chain, so most of the
spread over seeds is common to all. A plain mean would favour a chain that had a kind seed alone.
"""

from collections.abc import Hashable, Mapping
from statistics import fmean
from typing import NamedTuple, TypeVar

import numpy as np

Key = TypeVar("Key", bound=Hashable)
Scores = Mapping[int, float]  # by seed


class Fit(NamedTuple):
    """The seeds' effects, and the sum of squared residuals with its degrees of freedom."""

    effects: Mapping[int, float]
    squares: float
    degrees: int


def fit(scores: Mapping[Key, Scores]) -> Fit:
    """Fit the chains with several seeds; the effects have mean 0 where chains share seeds."""
    several = [known for known in scores.values() if len(known) > 1]
    if not several:
        return Fit({}, 0.0, 0)
    seeds = sorted({seed for known in several for seed in known})
    marks = [np.array([[k == seed for seed in seeds] for k in known], float) for known in several]
    design = np.concatenate([mark - mark.mean(0) for mark in marks])
    values = np.array([v - fmean(known.values()) for known in several for v in known.values()])
    effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    squares = float(((values - design @ effects) ** 2).sum())
    return Fit(
        dict(zip(seeds, effects.tolist(), strict=True)),
        squares,
        len(values) - len(several) - int(rank),
    )


def means(scores: Mapping[Key, Scores]) -> dict[Key, float]:
    """Return each chain's mean over its seeds, less their effects."""
    effects = fit(scores).effects
    return {
        key: fmean(value - effects.get(seed, 0.0) for seed, value in known.items())
        for key, known in scores.items()
    }
