"""Several labels an image: rare values in every part, patient groups whole, shares met."""

from dataclasses import replace

import numpy as np
import pytest

from trainables.data import Table
from trainables.errors import UserError
from trainables.images.iterative import assign, values
from trainables.images.splits import folds, given, split, subset, unmeasured

LABELS = ("common", "usual", "rare", "rarer", "rarest", "twin")


def adversarial(seed: int):
    """Labels of 300, 90, 12, 5 and 3 patients among 600, a twin of the rarest, and few zeros.

    Rare labels share patients with each other, and a patient has up to 40 images.
    """
    rng = np.random.default_rng(seed)
    patients, labels, groups = 600, [], []
    own = np.zeros((patients, 6), int)
    own[:300, 0], own[250:340, 1] = 1, 1
    own[330:342, 2], own[338:343, 3], own[341:344, 4] = 1, 1, 1
    own[:, 5] = 1
    own[341:344, 5] = 0
    for patient in range(patients):
        images = 40 if patient in (0, 339) else int(rng.integers(1, 6))
        rows = np.tile(own[patient], (images, 1))
        rows[rng.random(rows.shape) < 0.05] = -1
        rows[0] = own[patient]
        labels.append(rows)
        groups += [f"p{patient}"] * images
    return np.concatenate(labels), np.array(groups)


@pytest.mark.parametrize("seed", range(5))
def test_rare_labels_are_in_every_part_and_patients_in_one(seed):
    labels, groups = adversarial(seed)
    parts = split(labels, groups, 0.15, 0.15, seed, LABELS)
    sides = [set(groups[index]) for index in parts.values()]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    for index in parts.values():
        assert ((labels[index] == 1).any(0) & (labels[index] == 0).any(0)).all()
    for name, share in {"train": 0.7, "val": 0.15, "test": 0.15}.items():
        assert len(parts[name]) / len(labels) == pytest.approx(share, abs=0.03)
        reached = (labels[parts[name]] == 1).sum(0) / (labels == 1).sum(0)
        assert np.abs(reached[:2] - share).max() < 0.03, name
        assert abs(reached[2] - share) < 0.25, name


def test_a_split_that_ignores_rare_labels_would_fail():
    """The test above can fail: hashed patients leave validation without the rarest label."""
    labels, groups = adversarial(0)
    lacking = 0
    for seed in range(20):
        drawn = np.random.default_rng(seed).permutation(np.unique(groups))
        val = np.isin(groups, drawn[: len(drawn) * 15 // 100])
        lacking += not (labels[val, 4] == 1).any()
    assert lacking > 5


def test_the_order_of_rows_does_not_matter():
    labels, groups = adversarial(1)
    order = np.random.default_rng(0).permutation(len(labels))
    a = split(labels, groups, 0.2, 0.2, 3, LABELS)
    b = split(labels[order], groups[order], 0.2, 0.2, 3, LABELS)
    assert all(set(groups[a[part]]) == set(groups[order][b[part]]) for part in a)
    c = split(labels, groups, 0.2, 0.2, 4, LABELS)
    assert set(groups[a["val"]]) != set(groups[c["val"]])


def test_the_rarest_value_is_dealt_first_to_the_part_that_lacks_most_of_it():
    """By hand: a is in 4 images of 8, b in 2; parts of half each.

    b first (0 and 1, one to each part), then a: each part wants 2 and part 1 has one by image 1.
    """
    labels = np.array([[0, 1], [1, 1], [1, 0], [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]])
    ones = np.ones(8, int)
    part = assign(values(labels), ones, np.arange(8), np.array([0.5, 0.5]))
    assert part[0] == 0
    assert part[1] == 1
    assert np.bincount(part).tolist() == [4, 4]
    for value in (labels == 1, labels == 0):
        assert (value[part == 0].sum(0) == value[part == 1].sum(0)).all()


def test_too_few_patients_name_all_labels_to_exclude():
    labels, groups = adversarial(0)
    for column in (2, 4):
        rows = np.flatnonzero(labels[:, column] == 1)
        labels[rows[groups[rows] != groups[rows[0]]], column] = 0
    with pytest.raises(UserError) as caught:
        split(labels, groups, 0.15, 0.15, 0, LABELS)
    assert "labels rare, rarest: must be 1, and 0, in 3 patient groups each" in str(caught.value)
    assert "data.params.exclude_classes=[rare,rarest]" in str(caught.value)


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.1, 1.0])
def test_few_labels_keep_both_values_of_each_and_are_nested(fraction):
    labels, groups = adversarial(0)
    index = split(labels, groups, 0.15, 0.15, 0, LABELS)["train"]
    chosen = subset(labels, groups, index, fraction, 0)
    assert ((labels[chosen] == 1).any(0) & (labels[chosen] == 0).any(0)).all()
    assert set(subset(labels, groups, index, fraction / 2, 0)) <= set(chosen) <= set(index)
    if fraction >= 0.1:
        assert len(chosen) / len(index) == pytest.approx(fraction, abs=0.1)


def test_folds_keep_patients_together():
    labels, groups = adversarial(0)
    fold = folds(labels, groups, 3, 0)
    assert all(len(np.unique(fold[groups == one])) == 1 for one in np.unique(groups))
    assert all((labels[fold == k] == 1).any(0).all() for k in range(3))


def _table(parts):
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]] * 3)
    names = tuple(f"i{i}" for i in range(12))
    return Table(names, labels, names, ("A", "B"), parts=tuple(parts))


def test_a_given_split_may_lack_a_label_but_not_where_it_trains():
    table = _table(["train"] * 4 + ["val"] * 4 + ["test"] * 4)
    assert set(given(table, 0.2, 0.2, 0)) == {"train", "val", "test"}
    labels = table.labels.copy()
    labels[4:8, 1] = 0
    lacking = replace(table, labels=labels)
    assert unmeasured(lacking, given(lacking, 0.2, 0.2, 0)["val"]) == ["B"]
    labels[4:8, 0] = -1
    with pytest.raises(UserError, match="must have 1 and 0 of some label in val"):
        given(replace(table, labels=labels), 0.2, 0.2, 0)
    untrained = table.labels.copy()
    untrained[:4, 1] = 0
    with pytest.raises(UserError, match=r"labels B: must be 1 and 0 in images of train"):
        given(replace(table, labels=untrained), 0.2, 0.2, 0)
