"""AUROC and average precision of one class, of a split and all its resamples at once."""

import numpy as np
from numpy.typing import NDArray

from trainables.downstream.metrics import Floats, GroupBootstrap


def ranked(
    split: GroupBootstrap,
    images: NDArray[np.intp],
    own: NDArray[np.bool_],
    said: NDArray[np.floating],
) -> Floats:
    """Return AUROC and average precision: [2, 1 + resamples]; NaN where one is undefined.

    images: rows of the split to rank, [k]; own: which of them are of the class; said: their
    probabilities. They are sorted once; resamples only weight them.
    """
    found = np.full((2, split.rows), np.nan)
    order = np.argsort(-said)
    ranks, places = -said[order], np.flatnonzero(own[order])
    for rows, weights in split.weights(images[order]):
        found[:, rows] = _ranking(ranks, places, weights)
    return found


def _ranking(
    ranks: NDArray[np.floating], own: NDArray[np.intp], weights: NDArray[np.float32]
) -> Floats:
    """Return AUROC and average precision: [2, rows]; equal ranks count as ties.

    ranks: [n], rising, the likeliest image first; own: places of the class's images; weights:
    [rows, n]. Both measures are sums over the class's own images.
    """
    mine, every = weights[:, own].astype(np.float64), _running(weights)
    hits = _running(mine)
    first, last = (np.searchsorted(ranks, ranks[own], side) for side in ("left", "right"))
    earlier, until = (np.searchsorted(own, place) for place in (first, last))
    false = every[:, last] - hits[:, until]  # others at this rank or before
    above = (false + every[:, first] - hits[:, earlier]) / 2  # half of those at this rank
    total = hits[:, -1]
    others = every[:, -1] - total
    better = mine * (others[:, None] - above)
    precision = mine * hits[:, until] / np.maximum(every[:, last], 1)
    return np.stack([ratio(better.sum(1), total * others), ratio(precision.sum(1), total)])


def _running(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return sums of the first 0, 1, ... n columns: [rows, n] -> [rows, n + 1]."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def ratio(part: Floats, whole: NDArray[np.number]) -> Floats:
    """Divide; NaN where the whole is empty."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def mean(by_class: Floats) -> Floats:
    """Return the mean over the classes where it is defined: [n, classes] -> [n]."""
    known = np.isfinite(by_class)
    return ratio(np.where(known, by_class, 0.0).sum(1), known.sum(1))
