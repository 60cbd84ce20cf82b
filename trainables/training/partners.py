"""Other images of the same patient group, as positives (MICLe, Azizi et al., 2021)."""

import numpy as np

from trainables.images.splits import Index


class Partners:
    """groups: of each image, a number; the partner of an image alone in its group is itself."""

    def __init__(self, groups: Index) -> None:
        self.order = np.argsort(groups, kind="stable")  # members of a group side by side
        _, first, sizes = np.unique(groups[self.order], return_index=True, return_counts=True)
        self.first, self.size = (np.empty(len(groups), np.int64) for _ in range(2))
        self.first[self.order] = np.repeat(first, sizes)
        self.size[self.order] = np.repeat(sizes, sizes)
        self.place = np.empty(len(groups), np.int64)
        self.place[self.order] = np.arange(len(groups))

    def of(self, images: Index, rng: np.random.Generator) -> Index:
        """Draw a partner for each of the images."""
        first, size = self.first[images], self.size[images]
        shift = rng.integers(1, np.maximum(size, 2))
        return self.order[first + (self.place[images] - first + shift) % size]
