"""Resamples of patient groups, the same for every classifier. numpy only, as search imports it.

    split = GroupBootstrap(labels, groups, classes)
    value, *resampled = judge(split, probabilities).values("accuracy")     # see measures.py
    low, high = interval(resampled)

The interval resamples patient groups, since the images of one are not independent.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
AT_ONCE = 256  # resamples computed at once, at most
CELLS = 1 << 25  # weights of patient groups or images in as many resamples, at most


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """Count answers: int64 [n] labels and predictions -> [classes, classes], rows = truth."""
    flat = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


class GroupBootstrap:
    """One split, and its resampled patient groups, the same for every classifier scored on it.

    Scores of two classifiers are therefore paired. labels: int64 [n], or [n, classes] where an
    image may have several: 1, 0, or -1 if it is not known. Patient groups are drawn whatever their
    class. groups: the patient group of each image, [n]. Every result has 1 +
    resamples rows, of which the first is the split itself.
    """

    def __init__(
        self, labels: Ints, groups: NDArray[np.str_], classes: int, resamples: int = 2000
    ) -> None:
        _, self._group = np.unique(groups, return_inverse=True)
        self.labels, self.groups, self.classes = labels, int(self._group.max()) + 1, classes
        even = np.full(self.groups, 1 / self.groups)
        self.rows, rng = 1 + resamples, np.random.default_rng(0)
        self._times = np.ones((self.rows, self.groups), np.uint8)  # counts near 1
        for rows in self._blocks(self.groups, first=1):
            count = rows.stop - rows.start
            self._times[rows] = rng.multinomial(self.groups, even, count)

    def sums(self, columns: NDArray[np.generic]) -> Floats:
        """Sum over the images of every resample: [n, columns] -> [1 + resamples, columns]."""
        grouped = np.zeros((self.groups, columns.shape[1]))
        np.add.at(grouped, self._group, columns)
        found = np.empty((self.rows, columns.shape[1]))
        for rows in self._blocks(self.groups):
            found[rows] = self._times[rows].astype(np.float64) @ grouped
        return found

    def means(self, columns: NDArray[np.generic]) -> Floats:
        """Average over the images of every resample: [n, columns] -> [1 + resamples, columns]."""
        return self.sums(columns) / self.sums(np.ones((len(columns), 1)))

    def weights(self, order: Ints) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield rows and how often each of them has each image: [rows, images in `order`].

        float32 holds counts and their sums exactly, as they are small whole numbers.
        """
        for rows in self._blocks(len(order)):
            yield rows, self._times[rows][:, self._group[order]].astype(np.float32)

    def _blocks(self, columns: int, first: int = 0) -> Iterator[slice]:
        """Yield the rows from `first` on, as many at once as CELLS allows."""
        count = max(1, min(AT_ONCE, CELLS // max(columns, 1)))
        for start in range(first, self.rows, count):
            yield slice(start, min(start + count, self.rows))


def interval(scores: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled scores."""
    low, high = np.percentile(scores, [2.5, 97.5])
    return float(low), float(high)
