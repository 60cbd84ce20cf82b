"""Positives from patient groups: for each image another of its patient (MICLe, Azizi et al., 2021).

feed = PairedFeed(data, index, global_batch, seed, device, patient_groups=numbered(...))
batch = feed.batch(step)        # batch.partners[k] is of the patient of batch.images[k]
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.task import Batch
from trainables.training import distributed
from trainables.training.feed import Feed, Read

PARTNERS = 2  # of the seed, so that the order of images is another stream


def numbered(data: Prepared, index: Index) -> Index:
    """Return the patient groups of the images at `index` as numbers; unknown ones are alone."""
    names = np.array([*data.groups, *data.pool_groups])[index]
    alone = names == ""
    numbers = np.unique(names, return_inverse=True)[1]
    numbers[alone] = len(index) + np.arange(alone.sum())
    return numbers


class Partners:
    """Draws partners; a patient's only image is its own.

    groups: of each image, the number of its patient group.
    """

    def __init__(self, groups: Index) -> None:
        self.order = np.argsort(groups, kind="stable")  # a patient's images side by side
        _, first, sizes = np.unique(groups[self.order], return_index=True, return_counts=True)
        self.place, self.first, self.size = (np.empty(len(groups), np.int64) for _ in range(3))
        self.place[self.order] = np.arange(len(groups))
        self.first[self.order] = np.repeat(first, sizes)
        self.size[self.order] = np.repeat(sizes, sizes)

    def of(self, images: Index, u: np.ndarray[Any, np.dtype[np.float64]]) -> Index:
        """Return a partner of each of the images; u: [n], uniform."""
        first, size = self.first[images], self.size[images]
        shift = 1 + (u * (size - 1)).astype(np.int64)
        return self.order[first + (self.place[images] - first + shift) % size]


class PairedFeed(Feed):
    """A feed whose batches have partners."""

    def __init__(self, *args: Any, patient_groups: Index) -> None:
        super().__init__(*args)
        self.known = Partners(patient_groups)

    def batch(self, step: int) -> Batch:
        both = super().batch(step)
        images, partners = both.images.split(self.local)
        return replace(both, images=images, partners=partners)

    def _read(self, step: int) -> Read:
        """Return the pixels of the images, then those of their partners, and the positions."""
        pixels, positions = super()._read(step)
        with torch.cuda.stream(self._stream):
            rng = np.random.default_rng([self.seed, step, PARTNERS])
            first = distributed.rank() * self.local
            u = rng.random(self.global_batch)[first : first + self.local]
            partners = torch.from_numpy(self.known.of(positions.cpu().numpy(), u))
            return torch.cat([pixels, self.pixels(partners)]), positions
