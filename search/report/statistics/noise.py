"""The noise of training, measured over seeds, apart from that of the images. Pure.

noise = Noise.of(design, values)        # None if no row has two seeds
noise.std                               # of one training, in points
own, shared = noise.draws(design, resamples=2000)
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from search.chains.seeds import Design

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


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
        fitted = design.fitted(split)
        images = design.residual_variance(resampled - split[:, None]).mean()
        free = design.seeds_free
        effects, lent = fitted.effects(split), (fitted.solve**2).sum()
        return cls(
            float(fitted.residual_variance(split)),
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

        The former has the heavier tails of a variance that is itself estimated; see `tails`. The
        spread of the levels, by which a fitted design judges seeds, is part of it.
        """
        import numpy as np

        rng = np.random.default_rng(0)
        ratio = self.free / rng.chisquare(self.free, resamples)
        std = np.sqrt(np.maximum(self.variance * ratio - self.images, 0.0))
        levels = design.ratio * self.variance if 0 < design.ratio < np.inf else 0.0
        own = design.noise(rng, std, levels**0.5)
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
