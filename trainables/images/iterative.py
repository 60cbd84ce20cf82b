"""Iterative stratification of several labels an image, in whole patient groups.

    part = assign(counts, images, rank, np.array([0.7, 0.15, 0.15]))   # [patient groups], 0 to 2

Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011: the value with
fewest patient groups left is dealt out first, each group to the part that lacks most of it. Values
are every label's ones and zeros. No part stays without a value while there are groups to give.
"""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def values(labels: Ints) -> Ints:
    """Return which image has which value: [n, labels] -> [n, 2 * labels], all ones first."""
    return np.hstack([labels == 1, labels == 0]).astype(np.int64)


def assign(counts: Ints, images: Ints, rank: Ints, fractions: Floats) -> Ints:
    """Return the part of every patient group.

    counts: images with each value, [groups, values]; images: [groups]; rank: orders equal groups.
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
        """Deal out the groups left that have a value, those with most images of it first."""
        own = self.counts[:, value]
        todo = np.flatnonzero((self.part < 0) & (own > 0))
        for at, group in enumerate(todo[np.lexsort((self.rank[todo], -own[todo]))]):
            without = np.flatnonzero(~self.has[:, value])
            forced = 0 < len(todo) - at <= len(without)
            among = without if forced else np.arange(len(self.room))
            order = np.lexsort((-self.room[among], -self.lacks[among, value]))
            self._give(group, among[order[0]])

    def the_rest(self) -> Ints:
        """Give every group without a known value to the part with most room."""
        todo = np.flatnonzero(self.part < 0)
        for group in todo[np.lexsort((self.rank[todo], -self.images[todo]))]:
            self._give(group, np.argmax(self.room))
        return self.part

    def _give(self, group: np.intp, part: np.intp) -> None:
        self.part[group] = part
        self.lacks[part] -= self.counts[group]
        self.room[part] -= self.images[group]
        self.has[part] |= self.counts[group] > 0
