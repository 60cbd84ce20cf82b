"""The measures of a classifier: declared for people and policies, computed with intervals.

    judged = Judged(GroupBootstrap(labels, groups, len(classes)), probabilities)
    judged.measures(classes)["macro_auroc"]      # Measure(value=91.2, low=88.0, high=93.9, ...)
    judged.values("macro_auroc")[0]              # 91.2; then the same of every resample

All are in percent, as tables and policies expect. A class that is absent in a split, or in a
resample, is left out of the means over classes and has no sensitivity. One implementation gives
value and resamples; the tests hold it against scikit-learn, which can't weight by resample.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainables.downstream.metrics import Floats, GroupBootstrap, interval
from trainables.spec import Measure, MeasureType

MEASURES = {
    one.name: one
    for one in (
        MeasureType("balanced_accuracy", "balanced accuracy"),
        MeasureType("accuracy", "accuracy"),
        MeasureType("macro_auroc", "macro AUROC"),
        MeasureType("macro_average_precision", "macro average precision"),
        MeasureType("ece", "expected calibration error", higher_is_better=False),
        MeasureType("brier", "Brier score (0 to 200)", unit="", higher_is_better=False),
    )
}
BY_CLASS = {name: MeasureType(name, name) for name in ("sensitivity", "specificity")}
BINS = 15  # of the calibration error, equally wide


class Judged:
    """A classifier's answers on a split. probabilities: [n, classes]."""

    def __init__(self, split: GroupBootstrap, probabilities: NDArray[np.floating]) -> None:
        self._split, self._said = split, probabilities
        self._truth = np.eye(split.classes)[split.labels]
        self._answer = np.eye(split.classes)[probabilities.argmax(1)]
        self._in_class = split.sums(self._truth)
        self._images = self._in_class.sum(1)

    def measures(self, classes: Sequence[str]) -> dict[str, Measure]:
        """Return every measure that is defined on this split, with its interval."""
        columns = {name: (kind, self.values(name)) for name, kind in MEASURES.items()}
        for name, kind in BY_CLASS.items():
            by_class = self.values(name).T
            columns |= {f"{name}/{label}": (kind, by_class[k]) for k, label in enumerate(classes)}
        return {
            name: kind.measure(float(values[0]), *interval(values[1:]))
            for name, (kind, values) in columns.items()
            if np.isfinite(values[0])
        }

    def values(self, name: str) -> Floats:
        """Return a measure of the split and of every resample: [1 + resamples], or by class.

        NaN where it is undefined on the split; an undefined resample counts as the split.
        """
        found: Floats = 100 * getattr(self, f"_{name}")()
        return np.where(np.isnan(found), found[0], found)

    def _balanced_accuracy(self) -> Floats:
        return _mean(self._sensitivity())

    def _accuracy(self) -> Floats:
        return self._hits.sum(1) / self._images

    def _sensitivity(self) -> Floats:
        return _ratio(self._hits, self._in_class)

    def _specificity(self) -> Floats:
        others = self._images[:, None] - self._in_class
        false = self._split.sums(self._answer) - self._hits
        return _ratio(others - false, others)

    def _brier(self) -> Floats:
        """Return the mean squared distance of the probabilities to the truth."""
        distance = ((self._said - self._truth) ** 2).sum(1, keepdims=True)
        return self._split.sums(distance)[:, 0] / self._images

    def _ece(self) -> Floats:
        """Return the mean gap of confidence and accuracy in BINS bins (Guo et al., 2017)."""
        confidence, right = self._said.max(1), (self._answer * self._truth).sum(1)
        bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
        gaps = np.eye(BINS)[bins] * (confidence - right)[:, None]
        return np.abs(self._split.sums(gaps)).sum(1) / self._images

    def _macro_auroc(self) -> Floats:
        return _mean(self._ranked[0])

    def _macro_average_precision(self) -> Floats:
        return _mean(self._ranked[1])

    @cached_property
    def _hits(self) -> Floats:
        return self._split.sums(self._answer * self._truth)

    @cached_property
    def _ranked(self) -> Floats:
        """Return AUROC and average precision of each class against the others.

        [2, 1 + resamples, classes]. The images are sorted once; resamples only weight them.
        """
        found = np.full((2, *self._in_class.shape), np.nan)
        for k in np.flatnonzero(self._in_class[0]):
            order = np.argsort(-self._said[:, k])
            ranks, own = -self._said[order, k], np.flatnonzero(self._split.labels[order] == k)
            for rows, weights in self._split.weights(order):
                found[:, rows, k] = _ranking(ranks, own, weights)
        return found


def _ranking(ranks: Floats, own: NDArray[np.intp], weights: NDArray[np.float32]) -> Floats:
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
    return np.stack([_ratio(better.sum(1), total * others), _ratio(precision.sum(1), total)])


def _running(weights: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return sums of the first 0, 1, ... n columns: [rows, n] -> [rows, n + 1]."""
    sums = np.zeros((len(weights), weights.shape[1] + 1), weights.dtype)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _ratio(part: Floats, whole: NDArray[np.number]) -> Floats:
    """Divide; NaN where the whole is empty."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _mean(by_class: Floats) -> Floats:
    """Return the mean over the classes where it is defined: [n, classes] -> [n]."""
    known = np.isfinite(by_class)
    return _ratio(np.where(known, by_class, 0.0).sum(1), known.sum(1))
