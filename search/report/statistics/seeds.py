"""The model of scores over seeds: score = row + seed + noise, fitted by least squares. Pure.

    design = Design.of([(0, 1, 2), (0,)])             # the seeds of each row
    design.means(scores)                              # [rows], over all seeds of the search
    design.residual_variance(scores)                  # of one training, seeds apart

Seed k is the same label subset and order of images for every row, so it is a factor: what all rows
of a seed share cancels in differences. A row that lacks seeds is put where it would be with all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Design:
    """Which row and which seed each score has; scores are [observations] or [observations, n].

    row, seed: index of each observation's row and seed. solve: [seeds, observations] takes scores
    less their row's mean to the effects of the seeds. free: degrees of freedom of the residuals.
    """

    row: "Ints"
    seed: "Ints"
    solve: "Floats"
    free: int

    @classmethod
    def of(cls, seeds: Sequence[Sequence[int]]) -> "Design":
        """Return the design of rows with these seeds; every row has at least one."""
        import numpy as np

        row = np.repeat(np.arange(len(seeds)), [len(some) for some in seeds])
        names, seed = np.unique([k for some in seeds for k in some], return_inverse=True)
        own = np.eye(len(names))[seed]
        within = own - _row_means(own, row)[row]
        solve = np.linalg.pinv(within)
        return cls(row, seed, solve, len(row) - len(seeds) - int(np.linalg.matrix_rank(within)))

    @property
    def counts(self) -> "Ints":
        """The number of seeds of each row."""
        import numpy as np

        return np.bincount(self.row)

    def effects(self, scores: "Floats") -> "Floats":
        """Return the effects of the seeds: [seeds] or [seeds, n]; only differences matter."""
        return self.solve @ (scores - _row_means(scores, self.row)[self.row])

    def means(self, scores: "Floats") -> "Floats":
        """Return the rows' means over all seeds: [rows] or [rows, n]."""
        effects = self.effects(scores)
        return _row_means(scores - effects[self.seed], self.row) + effects.mean(0)

    def residuals(self, scores: "Floats") -> "Floats":
        left = scores - self.effects(scores)[self.seed]
        return left - _row_means(left, self.row)[self.row]

    def residual_variance(self, scores: "Floats") -> "Floats":
        """Return the variance of one training, pooled over rows: a number, or [n]."""
        assert self.free, "no row has several seeds"
        return (self.residuals(scores) ** 2).sum(0) / self.free


def least_squares_means(
    seeds: Sequence[Sequence[int]], scores: Sequence[Sequence[float]]
) -> list[float]:
    """Return each row's mean over all seeds that any row has."""
    import numpy as np

    if not seeds:
        return []
    flat = np.array([one for some in scores for one in some])
    return Design.of(seeds).means(flat).tolist()


def _row_means(values: "Floats", row: "Ints") -> "Floats":
    import numpy as np

    counts = np.bincount(row)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])  # the observations of a row are adjacent
    sums = np.add.reduceat(values, starts, axis=0)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))
