"""The model against slow oracles: Bayesian linear regression written out, and Monte Carlo."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from search.policies import _chain_model as chain_model
from search.policies._chain_model import (
    GRID,
    JITTER,
    LONGER,
    MEAN,
    RISE,
    Belief,
    Known,
    Posterior,
    Prior,
    Tree,
    evidence,
)

TREE = Tree.of(3, 3)
RNG = np.random.default_rng(0)
ROWS = np.array([0, 1, 2, TREE.row[0, 1], TREE.row[2, 1], TREE.row[2, 1, 0]])
SINGLES = np.array([69.5, 72.7, 63.5])
KNOWN = Known(
    ROWS,
    np.concatenate([SINGLES, [74.1, 75.4, 65.7]]),
    np.array([0.5, 0.7, 0.9, 1.0, 0.2, 0.0]),
    np.array([], int),
)


def effects(tree: Tree, prior: Prior, singles: np.ndarray) -> np.ndarray:
    """[chain, effect], each column times its prior sd; one loop per line of the definition."""
    columns: dict = {}
    for row, chain in enumerate(tree.chains):

        def add(effect: tuple, value: float, row: int = row) -> None:
            column = columns.setdefault(effect, np.zeros(len(tree.chains)))
            column[row] += value

        for end in range(1, len(chain) + 1):
            prefix, kept = chain[:end], prior.keep ** (len(chain) - end)
            add(("own", prefix[-1]), prior.scale * kept)
            add(("rest", prefix), prior.scale * prior.rest * kept)
            if end > 1:
                add(("pair", prefix[-2:]), prior.scale * prior.pair * kept)
        add(("mean",), MEAN)
        if len(chain) > 1:
            add(("longer",), prior.scale * LONGER)
            add(("rise",), prior.scale * RISE * share(chain, singles))
    return np.stack(list(columns.values()), 1)


def share(chain: tuple[int, ...], singles: np.ndarray) -> float:
    steps = [np.sign(singles[b] - singles[a]) for a, b in pairwise(chain)]
    return float(np.mean(steps)) if steps else 0.0


def regression(prior: Prior, known: Known) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of all chains, log evidence: standard normal weights on the effects."""
    every = effects(TREE, prior, SINGLES)
    rises = np.array([share(chain, SINGLES) for chain in TREE.chains])
    expected = known.scores.mean() + prior.scale * RISE * rises
    seen, noise = every[known.rows], (known.sds + JITTER) ** 2
    precision = np.eye(every.shape[1]) + seen.T @ (seen / noise[:, None])
    weights = np.linalg.solve(precision, seen.T @ ((known.scores - expected[known.rows]) / noise))
    covariance = every @ np.linalg.inv(precision) @ every.T
    marginal = multivariate_normal(expected[known.rows], seen @ seen.T + np.diag(noise))
    return expected + every @ weights, covariance, float(marginal.logpdf(known.scores))


def posterior(prior: Prior, known: Known = KNOWN) -> Posterior:
    rows = np.concatenate([known.rows, known.flying])
    return Posterior(TREE, prior, known, TREE.rise(SINGLES), TREE.common(TREE.every, rows))


def single(monkeypatch: pytest.MonkeyPatch, known: Known = KNOWN) -> Belief:
    monkeypatch.setattr(chain_model, "POINTS", 1)
    return Belief(TREE, known, SINGLES)


@pytest.mark.parametrize("prior", [GRID[0], GRID[17], GRID[-1]])
def test_the_posterior_is_that_of_the_regression(prior: Prior) -> None:
    mean, covariance, _ = regression(prior, KNOWN)
    found = posterior(prior)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(found.variance, covariance.diagonal(), atol=1e-5)
    some, others = np.array([0, 7, 14]), np.array([4, 11])
    np.testing.assert_allclose(
        found.covariance(some, others), covariance[np.ix_(some, others)], atol=1e-5
    )


def test_the_evidence_is_that_of_the_regression() -> None:
    common = TREE.common(ROWS, ROWS)
    found = evidence(TREE, KNOWN, TREE.rise(SINGLES), common)
    oracle = np.array([regression(prior, KNOWN)[2] for prior in GRID])
    np.testing.assert_allclose(found - found[0], oracle - oracle[0], atol=1e-6)


def test_beliefs_are_averaged_by_evidence() -> None:
    oracle = np.array([regression(prior, KNOWN)[2] for prior in GRID])
    best = np.argsort(-oracle, kind="stable")[: chain_model.POINTS]
    weight = np.exp(oracle[best] - oracle[best[0]])
    assert weight.min() > 1 / chain_model.ODDS
    mean = weight @ [regression(GRID[p], KNOWN)[0] for p in best] / weight.sum()
    np.testing.assert_allclose(Belief(TREE, KNOWN, SINGLES).mean(), mean, rtol=1e-6)


def test_rise_counts_rising_less_falling_steps() -> None:
    rise = TREE.rise(np.array([1.0, 2.0, np.nan]))
    of = {chain: rise[row] for chain, row in TREE.row.items()}
    assert (of[0,], of[0, 1], of[1, 0], of[0, 2], of[2, 0, 1]) == (0, 1, -1, 0, 0.5)
    assert TREE.rise(np.array([5.0, 5.0, 6.0]))[TREE.row[0, 1]] == 0


def test_a_chain_in_flight_narrows_the_belief_and_moves_no_mean() -> None:
    row = TREE.row[1, 2]
    flying = Known(KNOWN.rows, KNOWN.scores, KNOWN.sds, np.array([row]))
    before, after = posterior(GRID[5]), posterior(GRID[5], flying)
    np.testing.assert_allclose(after.mean, before.mean)
    assert (after.variance <= before.variance + 1e-9).all()
    noise = flying.noise**2
    assert after.variance[row] == pytest.approx(1 / (1 / before.variance[row] + 1 / noise))


def test_the_gain_is_what_monte_carlo_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the truth and its evaluation; the mean then thought of the difference, if positive."""
    belief, best, row = single(monkeypatch), TREE.row[2, 1], TREE.row[0, 2, 1]
    (p,) = belief.posteriors
    two = np.array([row, best])
    covariance, noise = p.covariance(two, two), belief.known.noise**2
    scores = RNG.normal(p.mean[row], np.sqrt(covariance[0, 0] + noise), 400_000)
    after = p.mean[two][:, None] + covariance[:, :1] / (covariance[0, 0] + noise) * (
        scores - p.mean[row]
    )
    expected = np.maximum(after[0] - after[1], 0).mean()
    assert belief.gain(best)[row] == pytest.approx(expected, rel=0.02)


def test_chances_are_what_monte_carlo_says(monkeypatch: pytest.MonkeyPatch) -> None:
    belief, best = single(monkeypatch), TREE.row[2, 1]
    _, covariance, _ = regression(belief.posteriors[0].prior, KNOWN)
    drawn = RNG.multivariate_normal(belief.mean(), covariance, 200_000, method="eigh")
    beaten = drawn > drawn[:, [best]] + 0.5
    np.testing.assert_allclose(belief.probability(best, 0.5), beaten.mean(0), atol=0.005)
    rows = np.setdiff1d(TREE.every, ROWS)
    any_of_them = belief.probability_of_any(rows, best, 0.5, np.random.default_rng(0))
    assert any_of_them == pytest.approx(beaten[:, rows].any(1).mean(), abs=0.08)
    monkeypatch.setattr(chain_model, "JOINTLY", 3)
    assert belief.probability_of_any(rows, best, 0.5, np.random.default_rng(0)) > any_of_them - 0.08


def test_it_recovers_what_made_the_scores() -> None:
    """Five tasks; the last one decides: chains never seen are placed by it."""
    tree, worth = Tree.of(5, 5), np.array([60.0, 65, 70, 75, 80])
    truth = np.array([worth[chain[-1]] for chain in tree.chains])
    rows = np.arange(25)
    known = Known(rows, truth[rows], np.full(25, 0.1), np.array([], int))
    mean = Belief(tree, known, worth).mean()
    assert np.abs(mean - truth).max() < 1.5
