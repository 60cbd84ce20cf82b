"""The model of chain + seed against a dense least-squares fit, and on known answers."""

import numpy as np
import pytest

from search.chains.seeds import means, residuals

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
    known = means(SCORES)
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
