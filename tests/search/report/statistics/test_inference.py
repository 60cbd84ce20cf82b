"""The statistics against scipy, against slow ways to the same numbers, and under a true null."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search.report.statistics import inference
from search.report.statistics.inference import (
    _scale,
    could_be_best,
    eta_squared,
    holm,
    spearman,
    two_sided,
)

SCORES = [70.1, 68.4, 73.9, 75.2, 66.0, 71.3]
LEVELS = ["a", "a", "b", "b", "a", "b"]
OTHERS = [1.0, 2.0, 2.0, 5.0, 0.5, 4.0]


def test_holm_known_answer() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.6, 0.7])).tolist() == pytest.approx([1.0, 1.0])


def test_holm_is_its_definition() -> None:
    """Rejected at a level exactly if the step-down procedure rejects."""
    p_values = np.random.default_rng(0).beta(0.2, 3, 30)
    adjusted = holm(p_values)
    for level in (0.001, 0.01, 0.05, 0.2):
        rejected = set()
        for step, place in enumerate(np.argsort(p_values)):
            if p_values[place] > level / (30 - step):
                break
            rejected.add(int(place))
        assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected


def _chance(draws: Any, one: int, others: Any, level: float = 0.95) -> float:
    """The quantile of the largest studentised difference to one, draw by draw."""
    errors = draws - draws.mean(1, keepdims=True)
    largest = [
        max((errors[k, d] - errors[one, d]) / np.std(errors[k] - errors[one]) for k in others)
        for d in range(draws.shape[1])
    ]
    return float(np.quantile(largest, level))


def test_could_be_best_is_its_definition() -> None:
    rng = np.random.default_rng(1)
    draws = (rng.normal(size=300) + rng.normal(size=(6, 300))) * [[1], [1], [2], [1], [3], [1]]
    merits = np.array([70.0, 71.0, 73.0, 76.5, 69.0, 74.0])
    kept = []
    for one in range(6):
        others = [k for k in range(6) if k != one]
        sizes = [(merits[k] - merits[one]) / np.std(draws[k] - draws[one]) for k in others]
        kept.append(max(sizes) <= _chance(draws, one, others))
    assert could_be_best(merits, draws, range(6)).tolist() == kept
    assert 1 < sum(kept) < 6
    assert could_be_best(-merits, draws, range(6)).tolist() != kept


def test_nothing_falls_out_unless_the_widest_difference_is_significant() -> None:
    rng = np.random.default_rng(2)
    draws = rng.normal(size=(15, 4000))
    merits = np.zeros(15)
    merits[0] = 4.2  # 3.0 standard errors; Dunnett's critical value is 2.5, that of all pairs 3.4
    assert could_be_best(merits, draws, [3] * 15).all()
    merits[0] = 5.2
    assert could_be_best(merits, draws, [3] * 15).tolist() == [True] + [False] * 14


def test_among_equals_something_falls_out_in_one_search_of_twenty() -> None:
    """P(more than 18 of 200) is 1 %; one leader stays in all but one of twenty."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(15, 2000))
    equal = [could_be_best(rng.normal(size=15), draws, [3] * 15).all() for _ in range(200)]
    assert 182 <= sum(equal) < 200
    ahead = np.append(2.9 * 2**0.5, np.zeros(14))
    found = [could_be_best(ahead + rng.normal(size=15), draws, [3] * 15) for _ in range(200)]
    assert sum(one[0] for one in found) >= 190
    assert 7.5 <= np.mean([14 - one[1:].sum() for one in found]) <= 10, "of 14"


def test_errors_are_pooled_over_rows_with_as_many_seeds() -> None:
    """One that seems to be known exactly is no reason to call the others different."""
    rng = np.random.default_rng(4)
    draws = rng.normal(size=(10, 4000)) * np.array([0.05, 0.05, *[1.0] * 8])[:, None]
    merits = np.array([0.5, 0.0, *[0.2] * 8])
    assert not could_be_best(merits, draws, [1, 2, *[3] * 8]).all()
    assert could_be_best(merits, draws, [3] * 10).all()


def test_a_pair_has_at_least_the_error_of_two_with_the_fewer_seeds() -> None:
    draws = np.random.default_rng(0).normal(size=(6, 50_000)) * np.array([[2.0]] * 3 + [[0.1]] * 3)
    scale = _scale(np.cov(draws), [1, 1, 1, 3, 3, 3])
    assert scale[0, 1:] == pytest.approx(1 / (2 * 2**0.5), rel=0.02)
    assert scale[3, 4:] == pytest.approx(1 / (0.1 * 2**0.5), rel=0.02)


def test_what_never_differs_could_be_best() -> None:
    draws = np.random.default_rng(0).normal(70, 1, 2000)
    assert could_be_best(np.array([70.0, 70.0]), np.stack([draws, draws]), [3, 1]).all()
    assert could_be_best(np.array([70.0]), draws[None], [3]).tolist() == [True]


def test_two_sided_p_value_is_that_of_the_draws() -> None:
    draws = np.random.default_rng(0).normal(5, 2, 100_000)
    assert two_sided(3.0, draws) == pytest.approx(2 * stats.norm.sf(1.5), abs=0.004)
    assert two_sided(-3.0, draws) == two_sided(3.0, draws)
    assert two_sided(1e9, draws) == 1 / 100_001, "never 0"


def test_eta_squared_is_that_of_the_f_test() -> None:
    rng = np.random.default_rng(2)
    levels = rng.choice(["a", "b", "c"], 40)
    scores = rng.normal(70, 2, 40) + (levels == "a")
    found = eta_squared(scores.tolist(), levels.tolist())
    test = stats.f_oneway(*(scores[levels == one] for one in "abc"))
    assert found is not None
    assert found.value == pytest.approx(test.statistic * 2 / (test.statistic * 2 + 37))
    assert found.p_value == pytest.approx(test.pvalue, abs=0.02)


def test_few_values_are_permuted_exactly() -> None:
    found = eta_squared(SCORES, LEVELS)
    assert found is not None

    def between(scores: tuple[float, ...]) -> float:
        means = [np.mean([s for s, o in zip(scores, LEVELS, strict=True) if o == k]) for k in "ab"]
        return abs(means[0] - means[1])

    every = [between(scores) for scores in permutations(SCORES)]
    assert found.p_value == pytest.approx(
        np.mean([one > between(tuple(SCORES)) - 1e-9 for one in every])
    )
    assert found.p_value == pytest.approx(2 / 20), (
        "of 20 ways to choose three of six, two are as far"
    )


def test_spearman_is_scipys() -> None:
    found = spearman(SCORES, OTHERS)
    expected = stats.spearmanr(SCORES, OTHERS).statistic
    assert found is not None
    assert found.value == pytest.approx(expected)
    exact = stats.permutation_test(
        (SCORES,), lambda x: abs(stats.spearmanr(x, OTHERS).statistic), permutation_type="pairings",
        alternative="greater", vectorized=False, n_resamples=1000,
    )  # fmt: skip
    assert found.p_value == pytest.approx(exact.pvalue)
    falling = spearman(SCORES, [-one for one in OTHERS])
    assert falling is not None
    assert (falling.value, falling.p_value) == pytest.approx((-expected, found.p_value))


def test_the_interval_of_a_rank_correlation_is_bonetts_and_wrights() -> None:
    """Of 30 pairs at 0.5: z 0.549 with a standard error of sqrt(1.125 / 27) = 0.204."""
    low, high = inference._interval_of_ranks(0.5, 30)
    assert (low, high) == pytest.approx(
        (np.tanh(0.5493 - 0.4001), np.tanh(0.5493 + 0.4001)), abs=1e-3
    )
    found = spearman(SCORES, OTHERS)
    assert found is not None
    assert (found.low, found.high) == inference._interval_of_ranks(found.value, 6)
    assert inference._interval_of_ranks(1.0, 6)[0] < 0.8, "a perfect order of few is not sure"
    assert inference._interval_of_ranks(1.0, 6)[1] == 1
    assert inference._interval_of_ranks(0.9, 3) == (-1, 1)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_interval_holds_the_true_rank_correlation_in_95_of_100_searches(rho: float) -> None:
    rng, true = np.random.default_rng(7), 6 / np.pi * np.arcsin(rho / 2)
    drawn = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], (1000, 16))
    found = [float(stats.spearmanr(*one.T).statistic) for one in drawn]
    ends = np.array([inference._interval_of_ranks(one, 16) for one in found])
    assert 0.92 < np.mean((ends[:, 0] <= true) & (true <= ends[:, 1])) < 0.98


def test_many_values_are_permuted_by_seed() -> None:
    rng = np.random.default_rng(4)
    scores, others = rng.normal(size=30), rng.normal(size=30)
    found = spearman(scores.tolist(), others.tolist())
    assert found == spearman(scores.tolist(), others.tolist())
    assert found is not None
    assert found.p_value == pytest.approx(stats.spearmanr(scores, others).pvalue, abs=0.02)
    sure = spearman(range(30), range(30))
    assert sure is not None
    assert sure.p_value == 1 / (1 + inference.PERMUTATIONS), "never zero"


def test_permutation_p_values_are_uniform_under_the_null() -> None:
    rng = np.random.default_rng(5)
    found = [spearman(rng.normal(size=7).tolist(), list(range(7))) for _ in range(200)]
    p_values = [one.p_value for one in found if one]
    assert len(p_values) == 200
    assert sum(p < 0.05 for p in p_values) <= 18
    assert 0.4 < np.mean(p_values) < 0.6


def test_nothing_varies_nothing_is_said() -> None:
    assert eta_squared([70.0] * 6, LEVELS) is None
    assert eta_squared(SCORES, ["a"] * 6) is None
    assert spearman(SCORES, [1.0] * 6) is None
    assert spearman([70.0] * 6, OTHERS) is None
