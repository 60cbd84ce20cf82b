"""Scores of several seeds: score = row + seed + noise, fitted by least squares. Pure.

    means({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8}})     # by row, over all seeds
    residuals({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8, 1: 70.9}})      # squares, degrees

Seed k is the same label subset and order of images for every row, a chain or a start, so it is a
factor: what all rows of a seed share cancels in differences, and a row that lacks seeds is put
where it would be with all. A plain mean would favour a row that had a kind seed alone.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Key = TypeVar("Key", bound=Hashable)
Scores = Mapping[int, float]  # by seed
TINY = 1e-9


@dataclass(frozen=True)
class Design:
    """Which row and which seed each score has; scores are [observations] or [observations, n].

    row, seed: index of each observation's row and seed. solve: [seeds, observations] takes scores
    less their row's mean to the effects of the seeds, which sum to 0. free, seeds_free: degrees of
    freedom of residuals and of effects.
    """

    row: "Ints"
    seed: "Ints"
    solve: "Floats"
    free: int
    seeds_free: int

    @classmethod
    def of(cls, seeds: Sequence[Sequence[int]]) -> "Design":
        """Return the design of rows with these seeds; every row has at least one."""
        import numpy as np

        row = np.repeat(np.arange(len(seeds)), [len(some) for some in seeds])
        names, seed = np.unique([k for some in seeds for k in some], return_inverse=True)
        own = np.eye(len(names))[seed]
        within = own - _row_means(own, row)[row]
        inner = within.T @ within  # whole numbers' fractions: what is below TINY is 0
        inverse = np.linalg.pinv(inner, rcond=TINY, hermitian=True)
        solve, rank = inverse @ within.T, round(float(np.trace(inverse @ inner)))
        return cls(row, seed, solve, len(row) - len(seeds) - rank, rank)

    def effects(self, scores: "Floats") -> "Floats":
        """Return the effects of the seeds: [seeds] or [seeds, n]."""
        return self.solve @ (scores - _row_means(scores, self.row)[self.row])

    def means(self, scores: "Floats") -> "Floats":
        """Return the rows' means over all seeds: [rows] or [rows, n]."""
        return _row_means(scores - self.effects(scores)[self.seed], self.row)

    def noise(self, rng: "np.random.Generator", n: int) -> "Floats":
        """Draw the error of `means` if every score has independent noise of variance 1."""
        import numpy as np

        counts = np.bincount(self.row)
        own = rng.standard_normal((len(counts), n)) / np.sqrt(counts)[:, None]
        vectors, sizes, _ = np.linalg.svd(self.solve, full_matrices=False)
        effects = vectors * sizes @ rng.standard_normal((len(sizes), n))
        return own - _row_means(np.eye(len(self.solve))[self.seed], self.row) @ effects

    def residuals(self, scores: "Floats") -> "Floats":
        left = scores - self.effects(scores)[self.seed]
        return left - _row_means(left, self.row)[self.row]

    def residual_variance(self, scores: "Floats") -> "Floats":
        """Return the variance of one training, pooled over rows: a number, or [n]."""
        assert self.free, "no row has several seeds"
        return (self.residuals(scores) ** 2).sum(0) / self.free


def means(scores: Mapping[Key, Scores]) -> dict[Key, float]:
    """Return each row's mean over all seeds that any row has."""
    if not scores:
        return {}
    design, values = _observed(scores)
    return dict(zip(scores, design.means(values).tolist(), strict=True))


def residuals(scores: Mapping[Key, Scores]) -> tuple[float, int]:
    """Return the sum of squared residuals and its degrees of freedom; 0 if no row has two seeds."""
    if not scores:
        return 0.0, 0
    design, values = _observed(scores)
    return float((design.residuals(values) ** 2).sum()), design.free


def _observed(scores: Mapping[Key, Scores]) -> "tuple[Design, Floats]":
    import numpy as np

    flat = [value for known in scores.values() for value in known.values()]
    return Design.of([tuple(known) for known in scores.values()]), np.array(flat)


def _row_means(values: "Floats", row: "Ints") -> "Floats":
    import numpy as np

    counts = np.bincount(row)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])  # the observations of a row are adjacent
    sums = np.add.reduceat(values, starts, axis=0)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))
