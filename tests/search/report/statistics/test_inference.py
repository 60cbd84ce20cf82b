"""The statistics against scipy, against slow ways to the same numbers, and under a true null."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search.report.statistics import inference
from search.report.statistics.inference import ROWS, against, eta_squared, holm, spearman
from trainables.downstream.measures import Judged
from trainables.downstream.metrics import GroupBootstrap

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


def pairwise(accuracies: Any, resampled: Any) -> Any:
    """Each against all, [n, n]."""
    return np.stack([against(accuracies, resampled, k) for k in range(len(accuracies))])


def test_pairwise_is_the_paired_test_of_every_pair() -> None:
    rng = np.random.default_rng(1)
    resampled = 70 + rng.normal(size=2000) + rng.normal(size=(4, 2000))
    accuracies = np.array([70.0, 71.0, 73.0, 76.0])
    p_values = [
        2 * stats.norm.sf(abs(accuracies[a] - accuracies[b]) / np.std(d, ddof=1))
        for a, b in zip(*np.triu_indices(4, 1), strict=True)
        for d in [resampled[a] - resampled[b]]
    ]
    found = pairwise(accuracies, resampled)
    assert found[np.triu_indices(4, 1)] == pytest.approx(holm(np.array(p_values)))
    assert np.array_equal(found, found.T)
    assert np.diag(found).tolist() == [1.0] * 4


def test_many_rows_are_compared_in_parts_with_the_same_result() -> None:
    rng = np.random.default_rng(2)
    n = ROWS + 7
    accuracies, resampled = rng.normal(70, 3, n), 70 + rng.normal(size=(n, 50))
    size = np.abs(accuracies[:, None] - accuracies) / np.sqrt(
        resampled.var(1, ddof=1)[:, None] + resampled.var(1, ddof=1) - 2 * np.cov(resampled)
        + np.eye(n)
    )  # fmt: skip
    above = np.triu_indices(n, 1)
    expected = np.ones((n, n))
    expected[above] = holm(2 * stats.norm.sf(size[above]))
    for one in (0, 3, ROWS, n - 1):
        found = against(accuracies, resampled, one)
        assert found == pytest.approx(np.minimum(expected, expected.T)[one])


def test_what_never_differs_is_no_difference() -> None:
    resampled = np.random.default_rng(0).normal(70, 1, 2000)
    found = pairwise(np.array([70.0, 70.0]), np.stack([resampled, resampled]))
    assert found.tolist() == [[1, 1], [1, 1]]
    assert pairwise(np.array([70.0]), resampled[None]).tolist() == [[1]]


def _search(rng: np.random.Generator, chains: int, better: float) -> tuple[Any, Any]:
    """Accuracies and resamples of equal chains, but for the last one if it is better."""
    groups = np.repeat(np.arange(250), 2)
    labels = np.repeat(rng.choice(4, 250, p=[0.4, 0.3, 0.2, 0.1]), 2)
    hard = rng.normal(size=500) + np.repeat(rng.normal(size=250), 2)  # for every chain
    resamples = GroupBootstrap(labels, groups.astype(str), 4, resamples=1000)
    accuracies, resampled = [], []
    for chain in range(chains):
        own = rng.normal(size=500) + np.repeat(rng.normal(size=250), 2)
        right = hard + own < 1 + better * (chain == chains - 1)
        predicted = np.where(right, labels, (labels + 1) % 4)
        values = Judged(resamples, np.eye(4)[predicted]).values("balanced_accuracy")
        accuracies.append(values[0])
        resampled.append(values[1:])
    return np.array(accuracies), np.stack(resampled)


def _differs(accuracies: Any, resampled: Any) -> bool:
    """Return whether any chain is called different from the winner."""
    return pairwise(accuracies, resampled)[np.argmax(accuracies)].min() < 0.05


def _differs_by_its_own_pairs(accuracies: Any, resampled: Any) -> bool:
    """The same, corrected as if the winner had been known beforehand."""
    best = np.argmax(accuracies)
    errors = np.delete(np.std(resampled - resampled[best], axis=1), best)
    sizes = np.delete(accuracies[best] - accuracies, best) / errors
    return holm(2 * stats.norm.sf(sizes)).min() < 0.05


def test_equal_chains_are_rarely_called_different() -> None:
    """Expect at most 5 % of 120 searches, with noise: P(more than 11) is 2 %."""
    rng = np.random.default_rng(0)
    searches = [_search(rng, chains=12, better=0) for _ in range(120)]
    assert sum(_differs(*one) for one in searches) <= 11
    assert sum(_differs_by_its_own_pairs(*one) for one in searches) > 11, "why all pairs count"


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(0)
    assert sum(_differs(*_search(rng, chains=6, better=3)) for _ in range(20)) >= 19


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


def test_training_noise_is_pooled_over_chains() -> None:
    seeds = [[70.0, 72.0, 71.0], [60.0, 63.0], [80.0]]
    std, draws = inference.training_noise(seeds, 200_000)
    pooled = (2 * np.var(seeds[0], ddof=1) + np.var(seeds[1], ddof=1)) / 3
    assert std == pytest.approx(pooled**0.5)
    middle = np.percentile(np.abs(draws), 50, axis=1)
    expected = stats.t.ppf(0.75, 3) * pooled**0.5 / np.sqrt([3, 2, 1])
    assert middle == pytest.approx(expected, rel=0.02)


def test_without_a_second_seed_there_is_no_training_noise() -> None:
    std, draws = inference.training_noise([[70.0], [71.0]], 10)
    assert std is None
    assert not draws.any()


def test_equal_chains_that_differ_by_luck_are_told_apart_at_most_as_often_as_said() -> None:
    """Scores of two seeds each, all from one distribution: images don't matter, training does."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(200):
        seeds = rng.normal(70, 1.5, (6, 2))
        _, noise = inference.training_noise(seeds.tolist(), 2000)
        images = rng.normal(0, 0.1, (6, 2000))
        wrong += bool((pairwise(seeds.mean(1), images + noise) < 0.05).any())
    assert wrong <= 20
