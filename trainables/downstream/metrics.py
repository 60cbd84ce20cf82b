"""Balanced accuracy and its interval. numpy only, so that the search side may import it.

    resamples = GroupBootstrap(labels, groups, classes)
    low, high = interval(resamples.scores(predicted))

Balanced accuracy is the mean recall over the classes that are present (ISIC-2019's metric), in
percent. Its interval resamples patient groups, since the images of one are not independent.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Count answers: int64 [n] labels and predictions -> [classes, classes], rows = truth."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def balanced_accuracy(labels: Ints, predicted: Ints, classes: int) -> float:
    """Return the mean recall over the classes in `labels`, in percent; int64 [n] inputs."""
    counts = confusion(labels, predicted, classes)
    present = counts.sum(1) > 0
    return float(100 * (counts.diagonal()[present] / counts.sum(1)[present]).mean())


class GroupBootstrap:
    """Resampled patient groups of one split, the same for every classifier scored on it.

    Scores of two classifiers are therefore paired. labels: int64 [n]; groups: the patient group of
    each image, [n].
    """

    def __init__(
        self, labels: Ints, groups: NDArray[np.str_], classes: int, resamples: int = 2000
    ) -> None:
        _, group = np.unique(groups, return_inverse=True)
        self.labels, self.groups, self.classes = labels, int(group.max()) + 1, classes
        self._cells = group * classes + labels
        rng = np.random.default_rng(0)
        even = np.full(self.groups, 1 / self.groups)
        # Counts and their sums are small whole numbers, which float32 holds exactly.
        self._draws = rng.multinomial(self.groups, even, resamples).astype(np.float32)
        self._totals = self._draws @ self._counts(np.ones(len(labels), dtype=bool))

    def scores(self, predicted: Ints) -> Floats:
        """Return the balanced accuracy, %, of every resample; predicted: int64 [n]."""
        hits = self._draws @ self._counts(self.labels == predicted)
        with np.errstate(invalid="ignore"):
            recall = hits.astype(np.float64) / self._totals
        return 100 * np.nanmean(recall, axis=1)

    def _counts(self, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Count the chosen images: [patient groups, classes]."""
        counts = np.bincount(self._cells[chosen], minlength=self.groups * self.classes)
        return counts.reshape(self.groups, self.classes).astype(np.float32)


def interval(scores: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled scores."""
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
