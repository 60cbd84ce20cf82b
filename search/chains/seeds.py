"""Scores of several seeds: score = row + seed + noise, fitted as a mixed model. Pure.

    means({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8}})     # by row, over all seeds
    residuals({"moco": {0: 70.1, 1: 72.0}, "odc": {0: 68.8, 1: 70.9}})      # squares, degrees

Seed k is the same label subset and order of images for every row, a chain or a start, so it is a
factor: what all rows of a seed share cancels in differences, and a row that lacks seeds is put
where it would be with all. A plain mean would favour a row that had a kind seed alone.

Chains are given further seeds for their first scores, which are partly luck: a second seed without
it would seem hard. The chains that were given none tell how much luck there was, if levels of
chains are drawn from a normal distribution, too. Seeds are then missing at random (Rubin, 1976).
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

Key = TypeVar("Key", bound=Hashable)
Scores = Mapping[int, float]  # by seed
TINY = 1e-6  # singular values of whole numbers' fractions: what is below is 0
FAR = 3.0  # standard deviations


@dataclass(frozen=True)
class Design:
    """Which row and which seed each score has; scores are [observations] or [observations, n].

    row, seed: index of each observation's row and seed. fixed: [rows] whose seeds depend on no
    score: starts; their levels are not drawn. ratio: the variance of the drawn levels, in that of
    the noise; inf: least squares, with every level fixed.
    """

    row: "Ints"
    seed: "Ints"
    fixed: "Bools"
    ratio: float = inf

    @classmethod
    def of(cls, seeds: Sequence[Sequence[int]], fixed: Sequence[bool] = ()) -> "Design":
        """Return the least-squares design of rows with these seeds; every row has at least one."""
        import numpy as np

        row = np.repeat(np.arange(len(seeds)), [len(some) for some in seeds])
        _, seed = np.unique([k for some in seeds for k in some], return_inverse=True)
        return cls(row, seed, np.array(fixed or [False] * len(seeds)))

    def fitted(self, scores: "Floats") -> "Design":
        """Return the design with the ratio that restricted maximum likelihood finds.

        scores: [observations]. Where all rows have all seeds, the ratio changes nothing. It may be
        negative, or the noise would be too small where all rows are equal. The levels of rows far
        from the others aren't drawn: one of them would hide how like the others are.
        """
        import numpy as np

        seeds = np.bincount(self.row)
        drawn = replace(self, fixed=self.fixed | self._far(scores))
        if not self.free or np.ptp(seeds) == 0 or drawn.fixed.all():
            return self
        lower = np.linspace(-0.5 / (seeds.max() - 0.5), 0, 10)  # near -1 / seeds few rows fit all
        tried = [replace(drawn, ratio=ratio) for ratio in (*lower, *np.geomspace(0.03, 1e4, 40))]
        best = min(tried, key=lambda one: one._unlikelihood(scores))
        return self if best is tried[-1] else best

    def effects(self, scores: "Floats") -> "Floats":
        """Return the effects of the seeds: [seeds] or [seeds, n]."""
        return self.solve @ self._less(scores)

    def means(self, scores: "Floats") -> "Floats":
        """Return the rows' means over all seeds: [rows] or [rows, n]."""
        return _row_means(scores - self.effects(scores)[self.seed], self.row)

    def noise(self, rng: "np.random.Generator", std: "Floats", level: float) -> "Floats":
        """Draw the error of `means`: [rows, n]. std: [n], of a score; level: of drawn levels."""
        import numpy as np

        levels = rng.standard_normal((len(self.fixed), len(std)))
        levels *= np.where(self.fixed, 0.0, level)[:, None]
        own = rng.standard_normal((len(self.row), len(std))) * std
        return self.means(levels[self.row] + own) - levels

    def residuals(self, scores: "Floats") -> "Floats":
        basis, known = self._decomposed[0], self._less(scores)
        return known - basis @ (basis.T @ known)

    def residual_variance(self, scores: "Floats") -> "Floats":
        """Return the variance of one training, pooled over rows: a number, or [n]."""
        assert self.free, "no row has several seeds"
        return (self.residuals(scores) ** 2).sum(0) / self._free

    @cached_property
    def solve(self) -> "Floats":
        """[seeds, observations]: takes scores, less a part of their row's mean, to the effects."""
        basis, sizes, turned = self._decomposed
        return self._contrasts @ (turned.T / sizes) @ basis.T

    @cached_property
    def free(self) -> int:
        """The degrees of freedom of the residuals of least squares."""
        return len(self.row) - len(self.fixed) - self.seeds_free

    @property
    def seeds_free(self) -> int:
        """The degrees of freedom of the effects."""
        return round(float(self._contrasts.trace()))

    @property
    def _free(self) -> int:
        return len(self.row) - int((self._pull == 1).sum()) - len(self._decomposed[1])

    @cached_property
    def _contrasts(self) -> "Floats":
        """[seeds, seeds]: takes effects to those whose sum is 0, wherever rows connect seeds."""
        turned = replace(self, ratio=inf)._decomposed[2]
        return turned.T @ turned

    @cached_property
    def _pull(self) -> "Floats":
        """[rows]: the part of its mean that a row's scores are taken less."""
        import numpy as np

        part = 1 - 1 / np.sqrt(1 + self.ratio * np.bincount(self.row))
        return np.where(self.fixed, 1.0, part)

    @cached_property
    def _decomposed(self) -> "tuple[Floats, Floats, Floats]":
        """The singular values that aren't 0 of the seeds' columns, and their vectors."""
        import numpy as np

        own = self._less(np.eye(self.seed.max() + 1)[self.seed])
        left, sizes, right = np.linalg.svd(own, full_matrices=False)
        rank = (sizes > TINY).sum()
        return left[:, :rank], sizes[:rank], right[:rank]

    def _less(self, values: "Floats") -> "Floats":
        """Return the values less a part of their row's mean, so that errors are independent."""
        return values - (self._pull * _row_means(values, self.row).T).T[self.row]

    def _unlikelihood(self, scores: "Floats") -> float:
        """Return twice the negative logarithm of the restricted likelihood, less a constant."""
        import numpy as np

        squares = max(float((self.residuals(scores) ** 2).sum()), np.finfo(float).tiny)
        drawn = np.bincount(self.row)[~self.fixed]
        volume = np.log1p(self.ratio * drawn).sum() + 2 * np.log(self._decomposed[1]).sum()
        return float(self._free * np.log(squares) + volume)

    def _far(self, scores: "Floats") -> "Bools":
        """Return [rows] which levels are more than FAR standard deviations from the middle."""
        import numpy as np

        if self.fixed.all():
            return self.fixed
        levels = self.means(scores)
        apart = np.abs(levels - np.median(levels[~self.fixed]))
        return apart > FAR * 1.4826 * np.median(apart[~self.fixed])


def means(scores: Mapping[Key, Scores], fixed: Collection[Key] = ()) -> dict[Key, float]:
    """Return each row's mean over all seeds that any row has. fixed: see `Design`."""
    if not scores:
        return {}
    design, values = _observed(scores, fixed)
    return dict(zip(scores, design.fitted(values).means(values).tolist(), strict=True))


def residuals(scores: Mapping[Key, Scores]) -> tuple[float, int]:
    """Return the sum of squared residuals and its degrees of freedom; 0 if no row has two seeds."""
    if not scores:
        return 0.0, 0
    design, values = _observed(scores)
    return float((design.residuals(values) ** 2).sum()), design.free


def _observed(scores: Mapping[Key, Scores], fixed: Collection[Key] = ()) -> "tuple[Design, Floats]":
    import numpy as np

    flat = [value for known in scores.values() for value in known.values()]
    seeds, starts = [tuple(known) for known in scores.values()], [key in fixed for key in scores]
    return Design.of(seeds, starts), np.array(flat)


def _row_means(values: "Floats", row: "Ints") -> "Floats":
    import numpy as np

    counts = np.bincount(row)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])  # the observations of a row are adjacent
    sums = np.add.reduceat(values, starts, axis=0)
    return sums / counts.reshape(-1, *[1] * (values.ndim - 1))
