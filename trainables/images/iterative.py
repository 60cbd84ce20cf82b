"""Iterative stratification of several labels an image, patient by patient.

    part = assign(counts, images, rank, np.array([0.7, 0.15, 0.15]))   # [patients], 0 to 2

Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011: the value with
fewest patients left is dealt out first, each patient to the part that lacks most of it. Values are
every label's ones and zeros. No part stays without a value while there are patients to give. A
patient may be any patient group, as a lesion.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def values(labels: Ints) -> Ints:
    """Return which image has which value: [n, labels] -> [n, 2 * labels], all ones first."""
    return np.hstack([labels == 1, labels == 0]).astype(np.int64)


def assign(counts: Ints, images: Ints, rank: Ints, fractions: Floats) -> Ints:
    """Return the part of every patient.

    counts: images with each value, [patients, values]; images: [patients]; rank: orders equal ones.
    """
    deal = _Deal(counts, images, rank, fractions)
    while (left := (counts[deal.part < 0] > 0).sum(0)).any():
        deal.out(int(np.argmin(np.where(left > 0, left, len(counts) + 1))))
    return deal.the_rest()


class _Deal:
    """The parts so far, and what each of them still lacks."""

    def __init__(self, counts: Ints, images: Ints, rank: Ints, fractions: Floats) -> None:
        self.counts, self.images, self.rank = counts, images, rank
        self.part = np.full(len(counts), -1)
        self.lacks = np.outer(fractions, counts.sum(0))  # [parts, values]
        self.room = fractions * images.sum()
        self.has = np.zeros(self.lacks.shape, bool)

    def out(self, value: int) -> None:
        """Deal out the patients left that have a value, those with most images of it first."""
        own = self.counts[:, value]
        todo = np.flatnonzero((self.part < 0) & (own > 0))
        for at, patient in enumerate(todo[np.lexsort((self.rank[todo], -own[todo]))]):
            without = np.flatnonzero(~self.has[:, value])
            forced = 0 < len(todo) - at <= len(without)
            among = without if forced else np.arange(len(self.room))
            order = np.lexsort((-self.room[among], -self.lacks[among, value]))
            self._give(patient, among[order[0]])

    def the_rest(self) -> Ints:
        """Give every patient without a known value to the part with most room."""
        todo = np.flatnonzero(self.part < 0)
        for patient in todo[np.lexsort((self.rank[todo], -self.images[todo]))]:
            self._give(patient, np.argmax(self.room))
        return self.part

    def _give(self, patient: np.intp, part: np.intp) -> None:
        self.part[patient] = part
        self.lacks[part] -= self.counts[patient]
        self.room[part] -= self.images[patient]
        self.has[part] |= self.counts[patient] > 0
