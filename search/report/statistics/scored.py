"""Rows scored on one split image by image: means over seeds, and how they may err.

    observed = observe(selection(table.scored), store, "val", "balanced_accuracy", starts)
    scored = observed.scored(noise)
    scored.difference("odc>moco", "scratch")        # an Estimate

All networks are scored on the same resampled patient groups, so that comparisons are paired.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from search.chains.node import FRESH
from search.chains.seeds import Design
from search.report import stored
from search.report.statistics.noise import Noise
from search.report.stored import Split, Store
from search.report.table import Images, Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Keys: TypeAlias = Mapping[str, Mapping[int, str | None]]  # row -> seed -> key of its score


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, in the unit of the measure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """Rows scored on one split: scores [rows], means over seeds.

    images: the scores of resampled images, [rows, resamples]; training: errors of training, the
    same shape; shared: what all rows of a seed share, [resamples]. seeds: how many each row has.
    noise: None if it is unknown; then intervals are of images only, and nothing is compared.
    """

    chains: tuple[str, ...]
    scores: "Floats"
    images: "Floats"
    training: "Floats"
    shared: "Floats"
    seeds: tuple[int, ...]
    on: Images
    noise: Noise | None

    @property
    def resampled(self) -> "Floats":
        """Resampled scores to be compared with one another: what they share is left out."""
        return self.images + self.training

    def estimate(self, chain: str) -> Estimate:
        place = self.chains.index(chain)
        own = self.images[place] + self.training[place]
        if self.noise is None:
            return estimate(self.scores[place], own)
        tails = self.noise.tails(float(own.var()), float(self.shared.var()), len(own))
        middle = own.mean()
        return estimate(self.scores[place], middle + (own + self.shared - middle) * tails)

    def difference(self, chain: str, other: str) -> Estimate | None:
        """Return the chain's score minus the other's; None if it is unknown or can't be judged."""
        if self.noise is None or not {chain, other} <= set(self.chains):
            return None
        a, b = self.chains.index(chain), self.chains.index(other)
        images, training = (part[a] - part[b] for part in (self.images, self.training))
        return estimate(self.scores[a] - self.scores[b], images + training)


@dataclass(frozen=True)
class Observed:
    """Every network's score: [networks, 1 + resamples], the split itself first; by row and seed.

    starts: the rows that are baselines, whose seeds depend on no score.
    """

    chains: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    values: "Floats"
    on: Images
    starts: frozenset[str] = frozenset()

    def without(self, rows: Collection[str]) -> "Observed":
        """Return the same without these rows."""
        import numpy as np

        kept = [k for k, chain in enumerate(self.chains) if chain not in rows]
        each = np.repeat(np.arange(len(self.seeds)), [len(some) for some in self.seeds])
        return replace(
            self,
            chains=tuple(self.chains[k] for k in kept),
            seeds=tuple(self.seeds[k] for k in kept),
            values=self.values[np.isin(each, kept)],
        )

    def scored(self, noise: Noise | None) -> Scored:
        """Return the rows' means over seeds with the noise of their training."""
        import numpy as np

        starts = [chain in self.starts for chain in self.chains]
        design = Design.of(self.seeds, starts).fitted(self.values[:, 0])
        means = design.means(self.values)
        images = _widened(means[:, 1:], self.on)
        own, shared = np.zeros_like(images), np.zeros(images.shape[1])
        if noise:
            own, shared = noise.draws(design, images.shape[1])
        counts = tuple(map(len, self.seeds))
        return Scored(self.chains, means[:, 0], images, own, shared, counts, self.on, noise)


def _widened(images: "Floats", on: Images) -> "Floats":
    """Return resampled scores with the spread that few patient groups hide.

    n resampled values vary by (n - 1) / n of what n drawn ones do. n is here that of the rarest
    class, whose accuracy varies most: its images, in patient groups of the mean size.
    """
    few = max(on.rarest * on.groups / on.images, 2.0)
    middle = images.mean(1, keepdims=True)
    widened: Floats = middle + (images - middle) * (few / (few - 1)) ** 0.5
    return widened


def selection(rows: Iterable[Row]) -> Keys:
    """Return the keys of the selection seeds."""
    return {
        row.chain: dict(zip(row.seeds, (row.downstream_key, *row.repeat_keys), strict=True))
        for row in rows
    }


def fresh(rows: Iterable[Row]) -> Keys:
    """Return the keys of the fresh seeds; rows without are left out."""
    return {
        row.chain: {FRESH + k: key for k, key in zip(row.fresh_seeds, row.fresh_keys, strict=True)}
        for row in rows
        if row.fresh_keys
    }


def observe(
    keys: Keys, store: Store, split: Split, measure: str, starts: frozenset[str]
) -> Observed | None:
    """Score all networks that have predictions or masks on the split; None if none has.

    starts: the baselines among the rows.
    """
    import numpy as np

    first, values = None, []
    seeds: dict[str, list[int]] = {}
    for chain, own in keys.items():
        for seed, key in own.items():
            if shown := stored.scored(store, key, split):
                if first is None:
                    first, resamples = shown, shown.resamples()
                assert np.array_equal(shown.groups, first.groups), chain  # one data set
                values.append(shown.values(resamples, measure))
                seeds.setdefault(chain, []).append(seed)
    if first is None:
        return None
    on = Images(len(first.groups), resamples.groups, first.rarest)
    return Observed(tuple(seeds), tuple(map(tuple, seeds.values())), np.stack(values), on, starts)


def noise_of(observed: Sequence[Observed]) -> Noise | None:
    """Pool the noise of training over these; a row's seeds in each are apart from the others."""
    import numpy as np

    rows = [(o, *row) for o in observed for row in zip(o.chains, o.seeds, strict=True)]
    if not rows:
        return None
    fixed = [chain in one.starts or min(seeds) >= FRESH for one, chain, seeds in rows]
    design = Design.of([seeds for *_, seeds in rows], fixed)
    return Noise.of(design, np.concatenate([one.values for one in observed]))


def estimate(value: float, resampled: "Floats") -> Estimate:
    from trainables.downstream.metrics import interval

    return Estimate(float(value), *interval(resampled))
