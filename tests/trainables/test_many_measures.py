"""Measures of several labels an image: scikit-learn's numbers without what is not known."""

from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics as oracle

from trainables.downstream.measures import BY_LABEL, MANY, MEASURES, judge
from trainables.downstream.metrics import GroupBootstrap
from trainables.spec import canonical_json

NAMES = ["Edema", "Effusion", "Mass", "always", "never", "unknown"]


@pytest.fixture(scope="module")
def split():
    """200 images of 70 patient groups, coarse probabilities, 15 % not known; three odd labels."""
    rng = np.random.default_rng(5)
    groups = np.array([f"p{k}" for k in rng.integers(0, 70, 200)])
    labels = (rng.random((200, 6)) < [0.5, 0.2, 0.06, 1, 0, 0.5]).astype(int)
    said = np.round((rng.random((200, 6)) + 0.6 * labels) / 1.6, 1)
    labels[rng.random((200, 6)) < 0.15] = -1
    labels[:, 5] = -1
    return labels, said, groups


def slow(name, truth, said):
    """One label's measure, NaN unless it is both 1 and 0."""
    truth, said = truth[truth >= 0], said[truth >= 0]
    if name == "sensitivity":
        return oracle.recall_score(truth, said >= 0.5) if truth.any() else np.nan
    if name == "specificity":
        known = len(truth) and not truth.all()
        return oracle.recall_score(truth, said >= 0.5, pos_label=0) if known else np.nan
    if len(set(truth)) < 2:
        return np.nan
    by = {"auroc": oracle.roc_auc_score, "average_precision": oracle.average_precision_score}
    return by[name](truth, said)


def macro(name, labels, said):
    one = name.removeprefix("macro_")
    return np.nanmean([slow(one, labels[:, k], said[:, k]) for k in range(labels.shape[1])])


def test_measures_are_sklearns(split):
    labels, said, groups = split
    found = judge(GroupBootstrap(labels, groups, 6, 100), said).measures(NAMES)
    expected = {name: macro(name, labels, said) for name in MANY}
    for name in BY_LABEL:
        expected |= {
            f"{name}/{n}": slow(name, labels[:, k], said[:, k]) for k, n in enumerate(NAMES)
        }
    expected = {name: value for name, value in expected.items() if np.isfinite(value)}
    assert found.keys() == expected.keys()
    assert {"auroc/always", "auroc/never", "sensitivity/never", "accuracy"}.isdisjoint(found)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(100 * value), name
        assert found[name].low <= found[name].value <= found[name].high
    canonical_json({key: asdict(one) for key, one in found.items()})  # no NaN


@pytest.mark.parametrize("name", MANY)
def test_a_resample_draws_whole_groups(split, name):
    labels, said, groups = split
    found = judge(GroupBootstrap(labels, groups, 6, 200), said).values(name)
    names = np.unique(groups)
    draws = np.random.default_rng(0).multinomial(
        len(names), np.full(len(names), 1 / len(names)), 200
    )
    for score, draw in [*zip(found[1:], draws, strict=True)][::20]:
        times = dict(zip(names, draw, strict=True))
        images = np.repeat(np.arange(200), [times[group] for group in groups])
        assert score == pytest.approx(100 * macro(name, labels[images], said[images]))


def test_what_is_not_known_changes_nothing(split):
    labels, said, groups = split
    other = np.where(labels < 0, 1 - said, said)
    a, b = (judge(GroupBootstrap(labels, groups, 6, 20), one).values("macro_auroc") for one in
            (said, other))  # fmt: skip
    assert np.array_equal(a, b)


@pytest.mark.parametrize("name", sorted(set(MEASURES) - set(MANY)))
def test_measures_of_one_answer_an_image_are_never_computed(split, name):
    labels, said, groups = split
    with pytest.raises(AssertionError):
        judge(GroupBootstrap(labels, groups, 6, 0), said).values(name)
