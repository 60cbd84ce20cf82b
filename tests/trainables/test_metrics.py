"""Every measure: known answers by hand, scikit-learn's numbers, and a slow bootstrap."""

from dataclasses import asdict

import numpy as np
import pytest
from sklearn import metrics as oracle

from trainables.downstream import metrics
from trainables.downstream.measures import BINS, BY_CLASS, MEASURES, Judged, guessing
from trainables.downstream.metrics import GroupBootstrap, interval
from trainables.spec import canonical_json

# Six images of three classes, each its own patient group; class 3 has no image.
TRUTH = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array(
    [
        [0.7, 0.1, 0.1, 0.1],  # right
        [0.5, 0.3, 0.1, 0.1],  # right
        [0.2, 0.6, 0.1, 0.1],  # wrong
        [0.1, 0.7, 0.1, 0.1],  # right
        [0.5, 0.3, 0.1, 0.1],  # wrong, and level with the second on class 0
        [0.1, 0.2, 0.6, 0.1],  # right
    ]
)
NAMES = ["MEL", "NV", "BCC", "none of it"]
KNOWN = {
    "balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3,
    "accuracy": 4 / 6,
    # class 0: of 9 pairs 0.7 wins 3, 0.5 wins 2 and ties one, 0.2 wins 2; class 1: of 8 pairs
    # 0.7 wins 4, 0.3 beats two, ties one and loses to 0.6; class 2: all
    "macro_auroc": ((3 + 2.5 + 2) / 9 + (4 + 2.5) / 8 + 1) / 3,
    # the positives' precision at their own threshold, ties included
    "macro_average_precision": ((1 + 2 / 3 + 3 / 4) / 3 + (1 + 2 / 4) / 2 + 1) / 3,
    # bins of the confidences .7 .7, .6 .6 and .5 .5: two right, one right of two, one of two
    "ece": (2 * (1 - 0.7) + abs(1 - 1.2) + abs(1 - 1.0)) / 6,
    "brier": np.mean([0.12, 0.36, 1.02, 0.12, 0.76, 0.22]),
    "sensitivity/MEL": 2 / 3, "sensitivity/NV": 1 / 2, "sensitivity/BCC": 1,
    "specificity/MEL": 2 / 3, "specificity/NV": 3 / 4, "specificity/BCC": 1,
    "specificity/none of it": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def split():
    """150 images of 60 patient groups; coarse probabilities, so that many are equal."""
    rng = np.random.default_rng(3)
    groups = np.array([f"lesion{k}" for k in rng.integers(0, 60, 150)])
    labels = rng.choice(4, 150, p=[0.5, 0.3, 0.15, 0.05])
    weights = rng.integers(1, 8, (150, 4)) + 6 * np.eye(4)[labels] * (rng.random((150, 1)) < 0.7)
    return labels, weights / weights.sum(1, keepdims=True), groups


def judged(labels, said, groups=None, resamples=0):
    groups = np.arange(len(labels)).astype(str) if groups is None else groups
    return Judged(GroupBootstrap(labels, groups, said.shape[1], resamples), said)


@pytest.mark.parametrize("name", KNOWN)
def test_known_answers(name):
    found = judged(TRUTH, SAID, resamples=50).measures(NAMES)
    assert found.keys() == KNOWN.keys(), "no sensitivity without an image"
    assert found[name].value == pytest.approx(100 * KNOWN[name])
    assert found[name].low <= found[name].high
    kind = (MEASURES | BY_CLASS)[name.partition("/")[0]]
    assert (found[name].unit, found[name].higher_is_better) == (kind.unit, kind.higher_is_better)
    canonical_json({key: asdict(one) for key, one in found.items()})  # no NaN


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_auroc"])
def test_answers_drawn_at_random_score_what_guessing_says(name):
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 3_000, p=[0.8, 0.15, 0.05])  # the fourth class has no image
    drawn = [judged(labels, rng.dirichlet(np.ones(4), 3_000)).values(name)[0] for _ in range(40)]
    assert guessing(name, 4) == pytest.approx(np.mean(drawn), abs=1)
    assert guessing("accuracy", 4) is None, "it depends on how frequent the classes are"


def slow_ece(labels, said):
    gap = 0.0
    for k in range(BINS):
        inside = [i for i, row in enumerate(said) if k / BINS < max(row) <= (k + 1) / BINS]
        if inside:
            right = np.mean([said[i].argmax() == labels[i] for i in inside])
            gap += len(inside) / len(labels) * abs(right - np.mean([max(said[i]) for i in inside]))
    return gap


def slow(name, labels, said):
    """A measure of all images by scikit-learn, over the classes that are present."""
    present, one_hot, predicted = np.unique(labels), np.eye(4)[labels], said.argmax(1)
    if name == "ece":
        return slow_ece(labels, said)
    if name == "brier":
        return ((said - one_hot) ** 2).sum(1).mean()
    if name == "accuracy":
        return oracle.accuracy_score(labels, predicted)
    if name == "balanced_accuracy":
        return oracle.recall_score(labels, predicted, labels=present, average="macro")
    by_class = {
        "macro_auroc": oracle.roc_auc_score,
        "macro_average_precision": oracle.average_precision_score,
    }[name]
    return np.mean([by_class(one_hot[:, k], said[:, k]) for k in present])


@pytest.mark.parametrize("name", MEASURES)
def test_values_are_sklearns(split, name):
    labels, said, _ = split
    assert judged(labels, said).values(name)[0] == pytest.approx(100 * slow(name, labels, said))
    wider = np.hstack([said, np.zeros((150, 5))])
    more = judged(labels, wider).values(name)[0]
    assert more == pytest.approx(100 * slow(name, labels, said)), "absent classes"


def test_brier_is_sklearns(split):
    labels, said, _ = split
    expected = oracle.brier_score_loss(labels, said, scale_by_half=False)
    assert judged(labels, said).values("brier")[0] == pytest.approx(100 * expected)


@pytest.mark.parametrize("name", MEASURES)
def test_a_resample_draws_whole_groups(split, name):
    labels, said, groups = split
    found = judged(labels, said, groups, resamples=300).values(name)
    names = np.unique(groups)
    even = np.full(len(names), 1 / len(names))
    draws = np.random.default_rng(0).multinomial(len(names), even, 300)
    assert len(found) == 301
    for score, draw in [*zip(found[1:], draws, strict=True)][::15]:
        times = dict(zip(names, draw, strict=True))
        images = np.repeat(np.arange(150), [times[group] for group in groups])
        assert score == pytest.approx(100 * slow(name, labels[images], said[images]))


@pytest.mark.parametrize("name", BY_CLASS)
def test_measures_of_a_class(split, name):
    labels, said, groups = split
    by_class = judged(labels, said, groups, resamples=20).values(name)
    assert by_class.shape == (21, 4)
    for k in range(4):
        truth, predicted = labels == k, said.argmax(1) == k
        expected = oracle.recall_score(truth, predicted, pos_label=name == "sensitivity")
        assert by_class[0, k] == pytest.approx(100 * expected)


def test_one_class_alone_has_no_ranking():
    found = judged(np.zeros(6, int), SAID, resamples=20).measures(NAMES)
    assert {"macro_auroc", "specificity/MEL", "sensitivity/NV"}.isdisjoint(found)
    assert found["sensitivity/MEL"].value == pytest.approx(100 * 3 / 6)
    canonical_json({key: asdict(one) for key, one in found.items()})


def test_a_resample_without_the_class_counts_as_the_split():
    values = judged(TRUTH, SAID, resamples=200).values("sensitivity")[:, 2]
    assert set(values) == {100.0}, "the one image is right, drawn or not"


def test_resamples_are_paired_and_seeded(split):
    labels, said, groups = split
    once, again = (judged(labels, said, groups, 500).values("accuracy") for _ in range(2))
    assert np.array_equal(once, again)
    worse = said.copy()
    worse[:3] = np.eye(4)[(labels[:3] + 1) % 4]
    assert (once >= judged(labels, worse, groups, 500).values("accuracy")).all()


@pytest.mark.parametrize("name", ["accuracy", "macro_auroc"])
def test_blocks_of_resamples_change_nothing(split, name, monkeypatch):
    labels, said, groups = split
    whole = judged(labels, said, groups, 40).values(name)
    monkeypatch.setattr(metrics, "CELLS", 7 * 60)  # seven resamples of sums, two of rankings
    assert np.allclose(whole, judged(labels, said, groups, 40).values(name), rtol=1e-12)
    widest = max(len(rows) for _, rows in GroupBootstrap(labels, groups, 4).weights(labels))
    assert widest == 2


def test_interval_covers_the_truth_as_often_as_it_says():
    """Groups of three equal images: an interval over images would be too narrow."""
    rng, hits = np.random.default_rng(0), 0
    labels = np.repeat(np.arange(300) % 3, 3)
    groups = np.repeat(np.arange(300), 3).astype(str)
    for _ in range(100):
        right = np.repeat(rng.random(300) < 0.7, 3)
        said = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
        values = judged(labels, said, groups, resamples=500).values("balanced_accuracy")
        low, high = interval(values[1:])
        hits += low < 70 < high
    assert 88 <= hits <= 99
