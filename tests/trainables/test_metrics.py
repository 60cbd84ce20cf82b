"""Balanced accuracy and the group bootstrap, against slow ways to the same numbers."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from trainables.downstream.metrics import GroupBootstrap, balanced_accuracy, interval


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(3)
    groups = np.array([f"lesion{k}" for k in rng.integers(0, 60, 150)])
    labels = rng.choice(4, 150, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(150) < 0.6, labels, rng.integers(0, 4, 150))
    return labels, predicted, groups


def test_balanced_accuracy_is_sklearns(split):
    labels, predicted, _ = split
    expected = 100 * balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(labels, predicted, 4) == pytest.approx(expected)
    assert balanced_accuracy(labels, predicted, 9) == pytest.approx(expected), "absent classes"


def test_a_resample_draws_whole_groups(split):
    labels, predicted, groups = split
    found = GroupBootstrap(labels, groups, 4, resamples=20).scores(predicted)
    names = np.unique(groups)
    draws = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), 20
    )
    for score, draw in zip(found, draws, strict=True):
        times = dict(zip(names, draw, strict=True))
        images = np.repeat(np.arange(150), [times[group] for group in groups])
        assert score == pytest.approx(balanced_accuracy(labels[images], predicted[images], 4))


def test_resamples_are_paired_and_seeded(split):
    labels, predicted, groups = split
    once, again = (GroupBootstrap(labels, groups, 4) for _ in range(2))
    assert np.array_equal(once.scores(predicted), again.scores(predicted))
    worse = predicted.copy()
    worse[:3] = (labels[:3] + 1) % 4
    assert (once.scores(predicted) >= once.scores(worse)).all()


def test_interval_covers_the_truth_as_often_as_it_says():
    """Groups of three equal images: an interval over images would be too narrow."""
    rng, hits = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(300) % 3, 3)
    groups = np.repeat(np.arange(300), 3).astype(str)
    for _ in range(100):
        right = np.repeat(rng.random(300) < 0.7, 3)
        predicted = np.where(right, labels, (labels + 1) % 3)
        low, high = interval(GroupBootstrap(labels, groups, 3, resamples=500).scores(predicted))
        hits += low < 70 < high
    assert 88 <= hits <= 99
