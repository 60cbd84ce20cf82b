"""Bounds in the model against slow oracles: numerical integration and rejection sampling."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from search.policies._censored import pseudo_scores

RNG = np.random.default_rng(0)


def moments(mean, covariance, bounds, noise):
    """Mean and covariance given the pseudo scores."""
    values, sds = pseudo_scores(mean, covariance, bounds, noise)
    gain = covariance @ np.linalg.inv(covariance + np.diag(sds**2))
    return mean + gain @ (values - mean), covariance - gain @ covariance


@pytest.mark.parametrize("bound", [45.0, 52.0, 60.0])
def test_one_bound_is_exact(bound):
    mean, sd, noise = 50.0, 4.0, 2.0

    def weight(f):
        return norm.pdf(f, mean, sd) * norm.cdf((bound - f) / noise)

    total = quad(weight, 20, 80)[0]
    first = quad(lambda f: f * weight(f), 20, 80)[0] / total
    second = quad(lambda f: (f - first) ** 2 * weight(f), 20, 80)[0] / total
    found, covariance = moments(
        np.array([mean]), np.array([[sd**2]]), np.array([bound]), noise
    )  # fmt: skip
    assert found[0] == pytest.approx(first, abs=1e-5)
    assert covariance[0, 0] == pytest.approx(second, abs=1e-5)


def test_several_bounds_agree_with_rejection_sampling():
    root = RNG.normal(0, 2, (4, 4))
    covariance = root @ root.T + np.eye(4)
    mean, bounds, noise = np.array([50.0, 53.0, 48.0, 51.0]), np.array([49.0, 50.0, 47.0]), 1.5
    drawn = RNG.multivariate_normal(mean, covariance, 600_000)
    seen = drawn[:, :3] + RNG.normal(0, noise, (len(drawn), 3))
    kept = drawn[(seen <= bounds).all(1)]
    assert len(kept) > 5000
    values, sds = pseudo_scores(mean[:3], covariance[:3, :3], bounds, noise)
    gain = covariance[:, :3] @ np.linalg.inv(covariance[:3, :3] + np.diag(sds**2))
    np.testing.assert_allclose(mean + gain @ (values - mean[:3]), kept.mean(0), atol=0.1)
    after = covariance - gain @ covariance[:3]
    np.testing.assert_allclose(np.sqrt(after.diagonal()), kept.std(0), rtol=0.05)


def test_a_bound_far_above_says_nothing_and_one_far_below_stays_finite():
    mean, covariance = np.array([50.0]), np.array([[9.0]])
    found, after = moments(mean, covariance, np.array([500.0]), 1.0)
    np.testing.assert_allclose((found[0], after[0, 0]), (50.0, 9.0))
    found, after = moments(mean, covariance, np.array([-500.0]), 1.0)
    assert found[0] < 0
    assert np.isfinite(after).all()
