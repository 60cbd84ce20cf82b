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


@dataclass(frozen=True)
class Noise:
    """The noise of training on a split of images, pooled over rows, in squared points.

    variance: between trainings of a row, seeds apart; images: the part of it that is the trained
    networks' disagreement on these images, which resampled images show too and is not to be counted
    twice. free: degrees of freedom. shared: variance of the seeds' effects; lent: what one unit of
    `variance` adds to it; shared_free: its degrees of freedom.
    """

    variance: float
    images: float
    free: int
    shared: float
    lent: float
    shared_free: int

    @classmethod
    def of(cls, design: Design, values: "Floats") -> "Noise | None":
        """Measure the noise; values: [observations, 1 + resamples]. None if no row has two seeds.

        The split itself is the first column, then paired resamples of its patient groups.
        """
        if not design.free:
            return None
        split, resampled = values[:, 0], values[:, 1:]
        images = design.residual_variance(resampled - split[:, None]).mean()
        free = design.seeds_free
        effects, lent = design.effects(split), (design.solve**2).sum()
        return cls(
            float(design.residual_variance(split)),
            float(images),
            design.free,
            float((effects**2).sum() / max(free, 1)),
            float(lent / max(free, 1)),
            free,
        )

    @property
    def std(self) -> float:
        """The standard deviation of one training, apart from images and seeds."""
        return max(self.variance - self.images, 0.0) ** 0.5

    def draws(self, design: Design, resamples: int) -> "tuple[Floats, Floats]":
        """Draw the noise of the rows' means, and what they share: [rows, n], [n].

        The former has the heavier tails of a variance that is itself estimated; see `tails`.
        """
        import numpy as np

        rng = np.random.default_rng(0)
        ratio = self.free / rng.chisquare(self.free, resamples)
        std = np.sqrt(np.maximum(self.variance * ratio - self.images, 0.0))
        own = design.noise(rng, resamples) * std
        shared = max(self.shared - self.lent * self.variance, 0.0) / len(design.solve)
        return own, rng.standard_normal(resamples) * np.sqrt(shared)

    def tails(self, own: float, shared: float, resamples: int) -> "Floats":
        """Draw factors for the error of one row's mean, whose variance is own + shared.

        What seeds share is known from few of them, so the sum has the tails of Student's t, with
        the degrees of freedom of Welch and Satterthwaite: drawing the variance of the shared part
        by itself covers 98 % where two seeds and the images matter alike.
        """
        import numpy as np

        if not self.shared_free or not shared:
            return np.ones(resamples)
        free = self.shared_free * ((own + shared) / shared) ** 2
        return np.sqrt(free / np.random.default_rng(1).chisquare(free, resamples))


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
