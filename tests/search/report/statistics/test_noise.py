"""The chain + seed model against ordinary least squares with a column for every row and seed."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from search.chains.seeds import Design, means
from search.report.statistics.noise import Noise

SEEDS = [(0, 1, 2), (0,), (0, 2), (0, 1), (0,)]


def columns(seeds: Any) -> Any:
    """One column a row, one a seed: [observations, rows + seeds], and the number of rows."""
    pairs = [(row, seed) for row, some in enumerate(seeds) for seed in some]
    names = sorted({seed for _, seed in pairs})
    design = np.zeros((len(pairs), len(seeds) + len(names)))
    for place, (row, seed) in enumerate(pairs):
        design[place, row] = design[place, len(seeds) + names.index(seed)] = 1
    return design


def slow(seeds: Any, scores: Any) -> tuple[Any, Any, int]:
    """Means over all seeds, residuals, degrees of freedom."""
    design, rows = columns(seeds), len(seeds)
    found, _, rank, _ = np.linalg.lstsq(design, scores, rcond=None)
    return found[:rows] + found[rows:].mean(0), scores - design @ found, len(design) - rank


@pytest.mark.parametrize("seeds", [SEEDS, [(0, 1, 2)] * 4, [(0, 1)] * 2, [(0,), (0, 1)]])
def test_the_fit_is_ordinary_least_squares(seeds: Any) -> None:
    design = Design.of(seeds)
    scores = np.random.default_rng(0).normal(70, 3, (len(design.row), 4))
    known, residuals, free = slow(seeds, scores)
    assert design.means(scores) == pytest.approx(known)
    assert design.residuals(scores) == pytest.approx(residuals, abs=1e-9)
    assert design.free == free
    if free:
        assert design.residual_variance(scores) == pytest.approx((residuals**2).sum(0) / free)


def test_with_all_seeds_the_mean_is_the_plain_one() -> None:
    scores = {"a": {0: 70.0, 1: 72.0, 2: 74.0}, "b": {0: 60.0, 1: 61.0, 2: 65.0}}
    assert means(scores) == pytest.approx({"a": 72, "b": 62})
    assert means({}) == {}


def test_a_row_that_lacks_a_lucky_seed_is_put_where_it_would_be() -> None:
    scores = {"a": {0: 70.0, 1: 80.0}, "b": {0: 60.0, 1: 70.0}, "c": {0: 65.0}}
    assert means(scores) == pytest.approx({"a": 75, "b": 65, "c": 70})  # seed 1 gives ten points


def test_many_rows_have_exact_effects() -> None:
    """Rounding would turn an effect of 0 into a huge one."""
    design = Design.of([(0, 1, 2)] * 400)
    assert (design.free, design.seeds_free) == (798, 2)
    scores = np.tile([1.0, 2.0, 6.0], 400)
    assert design.effects(scores) == pytest.approx([-2, -1, 3])


def test_errors_are_drawn_with_the_covariance_of_least_squares() -> None:
    design = Design.of(SEEDS)
    rows = len(SEEDS)
    inverse = np.linalg.pinv(columns(SEEDS))
    to_means = inverse[:rows] + inverse[rows:].mean(0)
    drawn = np.cov(design.noise(np.random.default_rng(0), np.ones(200_000), 0.0))
    assert drawn == pytest.approx(to_means @ to_means.T, abs=0.01)


def test_the_networks_disagreement_is_that_of_a_slow_fit_of_every_resample() -> None:
    rng = np.random.default_rng(1)
    count = sum(map(len, SEEDS))
    design = Design.of(SEEDS, [True] * len(SEEDS))
    split = rng.normal(70, 3, count)
    resampled = split[:, None] + rng.normal(0, 2, (count, 50))
    found = Noise.of(design, np.column_stack([split, resampled]))
    assert found is not None
    _, residuals, free = slow(SEEDS, split)
    assert found.variance == pytest.approx((residuals**2).sum() / free)
    every = [(slow(SEEDS, one - split)[1] ** 2).sum() / free for one in resampled.T]
    assert found.images == pytest.approx(np.mean(every))
    assert found.std == pytest.approx(max(found.variance - np.mean(every), 0) ** 0.5)


def test_what_the_images_explain_is_counted_once() -> None:
    """Networks that differ by their images alone have no noise of training, and both add up."""
    rng = np.random.default_rng(2)
    seeds = [(0, 1, 2)] * 200
    for training in (0.0, 2.0):
        split = 70 + rng.normal(0, 1.5, 600) + rng.normal(0, training, 600)
        resampled = split[:, None] + rng.normal(0, 1.5, (600, 300))
        found = Noise.of(Design.of(seeds), np.column_stack([split, resampled]))
        assert found is not None
        assert found.std == pytest.approx(training, abs=0.35)
        design = Design.of(seeds)
        own, _ = found.draws(design, 300)
        total = (own + design.means(resampled)).std(1).mean()
        assert total == pytest.approx(((1.5**2 + training**2) / 3) ** 0.5, abs=0.08)


def test_draws_have_the_tails_of_students_t() -> None:
    design = Design.of([(0, 1)] * 4)  # three degrees of freedom; one of the seeds
    noise = Noise(variance=4.0, images=0.0, free=3, shared=9.0, lent=0.5, shared_free=1)
    own, shared = noise.draws(design, 400_000)
    for p in (0.8, 0.975):
        assert np.quantile(own[0], p) == pytest.approx(stats.t.ppf(p, 3) * 2**0.5, rel=0.03)
    assert shared.std() == pytest.approx(((9 - 0.5 * 4) / 2) ** 0.5, rel=0.01)
    alone = noise.tails(0.0, 1.0, 400_000) * shared
    assert np.quantile(alone, 0.9) == pytest.approx(stats.t.ppf(0.9, 1) * 3.5**0.5, rel=0.03)
    half = noise.tails(1.0, 1.0, 400_000) * shared
    assert np.quantile(half, 0.9) == pytest.approx(stats.t.ppf(0.9, 4) * 3.5**0.5, rel=0.03)
    assert (noise.tails(1.0, 0.0, 5) == 1).all()


def test_without_a_second_seed_nothing_is_known() -> None:
    assert Noise.of(Design.of([(0,), (0,)]), np.zeros((2, 5))) is None
