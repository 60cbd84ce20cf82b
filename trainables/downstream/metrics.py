"""Balanced accuracy and its interval. numpy only, so that the search side may import it.

Balanced accuracy is the mean recall over the classes that are present (ISIC-2019's metric), in
percent. Its interval resamples groups (lesions, patients): images of one group are not independent.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """[classes, classes] counts, rows = truth."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def balanced_accuracy(labels: Ints, predicted: Ints, classes: int) -> float:
    """Mean recall over present classes, in percent."""
    counts = confusion(labels, predicted, classes)
    present = counts.sum(1) > 0
    return float(100 * (counts.diagonal()[present] / counts.sum(1)[present]).mean())


def group_bootstrap(
    labels: Ints,
    predicted: Ints,
    groups: NDArray[np.str_],
    classes: int,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """The percentile interval of balanced accuracy over resampled groups, in percent."""
    scores = bootstrap_scores(labels, predicted, groups, classes, resamples, seed)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(scores, [tail, 100 - tail])
    return float(low), float(high)


def bootstrap_scores(
    labels: Ints,
    predicted: Ints,
    groups: NDArray[np.str_],
    classes: int,
    resamples: int = 2000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """[resamples] balanced accuracies; equal seeds and groups give paired resamples."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    total = np.zeros((count, classes))
    hits = np.zeros((count, classes))
    np.add.at(total, (group, labels), 1)
    np.add.at(hits, (group, labels), labels == predicted)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    with np.errstate(invalid="ignore"):
        recall = (draws @ hits) / (draws @ total)
    return 100 * np.nanmean(recall, axis=1)
