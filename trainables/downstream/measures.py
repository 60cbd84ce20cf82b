"""The measures of a classifier: declared for people and policies, computed with intervals.

    judged = judge(GroupBootstrap(labels, groups, len(classes)), probabilities)
    judged.measures(classes)["macro_auroc"]      # Measure(value=91.2, low=88.0, high=93.9, ...)
    judged.values("macro_auroc")[0]              # 91.2; then the same of every resample

All are in percent, as tables and policies expect. A class that is absent in a split, or in a
resample, is left out of the means over classes and has no sensitivity. One implementation gives
value and resamples; the tests hold it against scikit-learn, which can't weight by resample.

Where an image may have several labels, each label is ranked and told by itself, without the images
of which it is not known; a probability of one half or more says yes. Measures of one answer an
image, as accuracy, are then undefined.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.downstream.metrics import Floats, GroupBootstrap, interval
from trainables.downstream.ranking import mean, ranked, ratio
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
MANY = {name: MEASURES[name] for name in ("macro_auroc", "macro_average_precision")}
BY_LABEL = BY_CLASS | {
    "auroc": MeasureType("auroc", "AUROC"),
    "average_precision": MeasureType("average_precision", "average precision"),
}
BINS = 15  # of the calibration error, equally wide


def guessing(measure: str, classes: int) -> float | None:
    """Return what an answer drawn at random scores, in percent; None where the images decide it.

    classes: those that can be answered, also where a split has no image of some.
    """
    return {"balanced_accuracy": 100 / classes, "macro_auroc": 50.0}.get(measure)


def judge(split: GroupBootstrap, probabilities: NDArray[np.floating]) -> "Judged":
    """Return a classifier's answers on a split, of one or of several labels an image."""
    kind = JudgedMany if split.labels.ndim == 2 else Judged
    return kind(split, probabilities)


class Judged:
    """A classifier's answers on a split. probabilities: [n, classes]."""

    kinds: ClassVar[Mapping[str, MeasureType]] = MEASURES
    by_class: ClassVar[Mapping[str, MeasureType]] = BY_CLASS

    def __init__(self, split: GroupBootstrap, probabilities: NDArray[np.floating]) -> None:
        self._split, self._said = split, probabilities
        self._truth = np.eye(split.classes)[split.labels]
        self._answer = np.eye(split.classes)[probabilities.argmax(1)]
        self._in_class = split.sums(self._truth)
        self._images = self._in_class.sum(1)

    def measures(self, classes: Sequence[str]) -> dict[str, Measure]:
        """Return every measure that is defined on this split, with its interval."""
        columns = {name: (kind, self.values(name)) for name, kind in self.kinds.items()}
        for name, kind in self.by_class.items():
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
        assert name in self.kinds or name in self.by_class, name
        found: Floats = 100 * getattr(self, f"_{name}")()
        return np.where(np.isnan(found), found[0], found)

    def _balanced_accuracy(self) -> Floats:
        return mean(self._sensitivity())

    def _accuracy(self) -> Floats:
        return self._hits.sum(1) / self._images

    def _sensitivity(self) -> Floats:
        return ratio(self._hits, self._in_class)

    def _specificity(self) -> Floats:
        others = self._images[:, None] - self._in_class
        false = self._split.sums(self._answer) - self._hits
        return ratio(others - false, others)

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
        return mean(self._ranked[0])

    def _macro_average_precision(self) -> Floats:
        return mean(self._ranked[1])

    @cached_property
    def _hits(self) -> Floats:
        return self._split.sums(self._answer * self._truth)

    @cached_property
    def _ranked(self) -> Floats:
        """Return AUROC and average precision of each class: [2, 1 + resamples, classes]."""
        found, images = np.full((2, *self._in_class.shape), np.nan), np.arange(len(self._said))
        for k in np.flatnonzero(self._in_class[0]):
            own = self._split.labels == k
            found[:, :, k] = ranked(self._split, images, own, self._said[:, k])
        return found


class JudgedMany(Judged):
    """Answers where an image may have several labels: 1 and 0, or -1 if it is not known."""

    kinds = MANY
    by_class = BY_LABEL

    def __init__(self, split: GroupBootstrap, probabilities: NDArray[np.floating]) -> None:
        self._split, self._said = split, probabilities
        self._yes, self._no = split.labels == 1, split.labels == 0

    def _sensitivity(self) -> Floats:
        hits = self._split.sums(self._yes & (self._said >= 0.5))
        return ratio(hits, self._split.sums(self._yes))

    def _specificity(self) -> Floats:
        rejected = self._split.sums(self._no & (self._said < 0.5))
        return ratio(rejected, self._split.sums(self._no))

    def _auroc(self) -> Floats:
        return self._ranked[0]

    def _average_precision(self) -> Floats:
        return self._ranked[1]

    @cached_property
    def _ranked(self) -> Floats:
        """Return AUROC and average precision of each label that is both 1 and 0, as of a class."""
        found = np.full((2, self._split.rows, self._split.classes), np.nan)
        for k in range(self._split.classes):
            known = np.flatnonzero(self._yes[:, k] | self._no[:, k])
            own = self._yes[known, k]
            if own.any() and not own.all():
                found[:, :, k] = ranked(self._split, known, own, self._said[known, k])
        found[1][np.isnan(found[0])] = np.nan  # a resample without a 0 ranks nothing
        return found
