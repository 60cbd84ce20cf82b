"""The model of chain + seed against dense fits, on known answers, and where luck gives seeds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from search.chains.seeds import Design, means, residuals

SCORES = {
    "a": {0: 70.0, 1: 72.5, 2: 69.0},
    "b": {0: 60.5, 1: 63.0},
    "c": {0: 65.0},
    "d": {0: 66.0, 2: 64.0, 1000: 66.5},
}


def dense(scores):
    """Chains' and seeds' effects with an indicator for each, and the residuals."""
    cells = [(chain, seed, v) for chain, known in scores.items() for seed, v in known.items()]
    chains, seeds = [*scores], sorted({seed for _, seed, _ in cells})
    design = np.array(
        [[chain == c for c in chains] + [seed == s for s in seeds] for chain, seed, _ in cells],
        float,
    )
    values = np.array([value for *_, value in cells])
    found, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    residuals = values - design @ found
    return dict(zip(chains, found, strict=False)), residuals, len(values) - rank


def test_it_is_the_least_squares_fit():
    effects, left, degrees = dense(SCORES)
    known = means(SCORES, fixed=SCORES)
    assert degrees == 2
    assert residuals(SCORES) == (pytest.approx((left**2).sum()), 2)
    for chain in "bcd":
        assert known[chain] - known["a"] == pytest.approx(effects[chain] - effects["a"])


def test_a_kind_seed_gives_no_lead():
    scores = {"a": {0: 70.0, 1: 74.0}, "b": {0: 71.0}}
    assert means(scores) == {"a": pytest.approx(72.0), "b": pytest.approx(73.0)}


def test_with_the_same_seeds_it_is_the_plain_mean():
    assert means({"a": {0: 1.0, 1: 3.0}, "b": {0: 2.0, 1: 6.0}}) == {
        "a": pytest.approx(2.0), "b": pytest.approx(4.0),
    }  # fmt: skip


def test_one_seed_each_says_nothing_of_seeds():
    assert residuals({"a": {0: 1.0}, "b": {0: 2.0}}) == (0.0, 0)
    assert means({"a": {0: 1.0}, "b": {0: 2.0}}) == {"a": 1.0, "b": 2.0}


def test_one_chain_leaves_no_residual():
    assert residuals({"a": {0: 1.0, 1: 3.0, 2: 2.0}}) == (pytest.approx(0), 0)


def luck(rng: Any, levels: Any) -> tuple[Any, Any]:
    """Scores of chains of which the better half has a second seed, the better quarter a third."""
    scores = levels[:, None] + rng.normal(0, 3, (len(levels), 3))
    order, count = np.arange(len(levels)), np.ones(len(levels), int)
    for seeds in (2, 3):
        rank = scores[order, : seeds - 1].mean(1)
        order = order[np.argsort(-rank)[: len(order) // 2 + 1]]
        count[order] = seeds
    return [tuple(range(k)) for k in count], scores


def slow(seeds: Any, fixed: Any, scores: Any, ratio: float) -> tuple[float, Any, float]:
    """Twice the negative restricted log-likelihood, the rows' means, the variance; all dense."""
    pairs = [(row, seed) for row, some in enumerate(seeds) for seed in some]
    own = np.array([[row == k for k in range(len(seeds))] for row, _ in pairs], float)
    by_seed = np.array([[seed == k for k in range(3)] for _, seed in pairs], float)
    columns = np.hstack([by_seed, own[:, fixed]])
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    basis = basis[:, sizes > 1e-9]
    inverse = np.linalg.inv(np.eye(len(own)) + ratio * own[:, ~fixed] @ own[:, ~fixed].T)
    inner = basis.T @ inverse @ basis
    left = scores - basis @ np.linalg.solve(inner, basis.T @ inverse @ scores)
    squares, free = left @ inverse @ left, len(own) - basis.shape[1]
    unlikely = free * np.log(squares) - np.linalg.slogdet(inverse)[1] + np.linalg.slogdet(inner)[1]
    effects = np.linalg.pinv(columns.T @ inverse @ columns) @ columns.T @ inverse @ scores
    shift = scores - by_seed @ (effects[:3] - effects[:3].mean())
    return unlikely, own.T @ shift / own.sum(0), squares / free


@pytest.mark.parametrize("case", range(6))
def test_the_ratio_is_the_most_likely_and_the_means_are_its(case: int) -> None:
    rng = np.random.default_rng(case)
    seeds, every = luck(rng, rng.normal(70, case, 9))
    scores = np.concatenate([row[: len(some)] for row, some in zip(every, seeds, strict=True)])
    fixed = np.arange(9) >= 9 - case % 3
    design = Design.of(seeds, fixed.tolist())
    found = design.fitted(scores)
    least, known, variance = slow(seeds, found.fixed, scores, found.ratio)
    tried = (k / (1 - k) for k in np.linspace(-0.25, 0.999, 150))
    assert least <= min(slow(seeds, found.fixed, scores, one)[0] for one in tried) + 0.05  # a grid
    assert found.means(scores) == pytest.approx(known)
    assert found.residual_variance(scores) == pytest.approx(variance)
    to_means = np.column_stack(
        [slow(seeds, found.fixed, one, found.ratio)[1] for one in np.eye(len(scores))]
    )
    drawn = found.noise(np.random.default_rng(0), np.full(100_000, 2.0), 3.0)
    rows = np.eye(9)[found.row] * ~found.fixed
    levels = to_means @ rows - np.diag(~found.fixed)
    expected = 4 * to_means @ to_means.T + 9 * levels @ levels.T
    assert np.cov(drawn) == pytest.approx(expected, abs=0.1)


def test_with_all_seeds_levels_change_nothing() -> None:
    scores = np.random.default_rng(0).normal(70, 3, 12)
    design = Design.of([(0, 1, 2)] * 4)
    assert design.fitted(scores) is design
    assert replace(design, ratio=0.7).means(scores) == pytest.approx(design.means(scores))


@pytest.mark.parametrize(("ahead", "fixed"), [(0, 0), (0, 2), (30, 0)])
def test_luck_with_one_seed_is_not_a_kind_seed(ahead: float, fixed: int) -> None:
    """Least squares takes the second seed for a hard one: its chains were lucky with the first.

    Neither one chain far ahead nor starts far behind, which have all seeds, change the answer.
    """
    rng, plain, mixed = np.random.default_rng(0), [], []
    for _ in range(100):
        seeds, every = luck(rng, np.array([ahead] + [0.0] * 14))
        seeds += [(0, 1, 2)] * fixed
        every = np.vstack([every, -20 + rng.normal(0, 3, (fixed, 3))])
        scores = np.concatenate([row[: len(some)] for row, some in zip(every, seeds, strict=True)])
        design = Design.of(seeds, [False] * 15 + [True] * fixed)
        for found, by in ((plain, design), (mixed, design.fitted(scores))):
            effects = by.effects(scores)
            found.append(effects[1] - effects[0])
    assert np.mean(plain) < -1.5
    assert np.mean(mixed) == pytest.approx(0, abs=0.3)
