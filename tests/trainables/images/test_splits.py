"""Splits: no group crosses, shares are met class by class, only seed and names decide."""

import numpy as np
import pytest

from trainables.data.isic2019 import Plugin
from trainables.errors import UserError
from trainables.images.splits import split, subset

ABC = ("a", "b", "c")


def made(groups_of_class=(40, 12, 3), seed=0):
    rng = np.random.default_rng(seed)
    labels, groups = [], []
    for label, count in enumerate(groups_of_class):
        for group in range(count):
            views = int(rng.integers(1, 5))
            labels += [label] * views
            groups += [f"{label}/{group}"] * views
    return np.array(labels), groups


def names(groups, index):
    return {groups[i] for i in index}


def test_no_group_crosses_and_every_class_is_everywhere():
    labels, groups = made()
    parts = split(labels, groups, 0.2, 0.2, 1, ABC)
    train, val, test = (names(groups, parts[p]) for p in ("train", "val", "test"))
    assert not train & val
    assert not train & test
    assert not val & test
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for index in parts.values():
        assert set(labels[index]) == {0, 1, 2}
        assert (np.diff(index) > 0).all()


def test_shares_on_real_images(mini):
    table = Plugin(mini, {}).table()
    parts = split(table.labels, table.groups, 0.15, 0.15, 0, table.classes)
    whole = np.bincount(table.labels)
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        reached = np.bincount(table.labels[parts[name]]) / whole
        assert np.abs(reached - share).max() < 0.01, (name, reached)
        lesions = np.array(table.groups)[parts[name]]
        repeated = np.unique(lesions, return_counts=True)[1]
        assert (repeated > 1).mean() > 0.1  # not only lesions of one image


def test_row_order_does_not_matter():
    labels, groups = made()
    order = np.random.default_rng(0).permutation(len(labels))
    mixed = [groups[i] for i in order]
    a = split(labels, groups, 0.2, 0.2, 1, ABC)
    b = split(labels[order], mixed, 0.2, 0.2, 1, ABC)
    for part in a:
        assert names(groups, a[part]) == names(mixed, b[part])


def test_seed_matters():
    labels, groups = made()
    a, b = (split(labels, groups, 0.2, 0.2, seed, ABC)["val"].tolist() for seed in (0, 1))
    assert a != b


def test_mixed_group_stays_whole():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0, 0])
    groups = ["x", "x", "a", "b", "c", "d", "e", "f", "g", "h"]
    parts = split(labels, groups, 0.25, 0.25, 0, ABC)
    assert sum("x" in names(groups, index) for index in parts.values()) == 1


def test_too_few_groups():
    labels, groups = made((40, 2))
    with pytest.raises(
        UserError,
        match=r"class DF: must have 3 patient groups.*\d images of only 2 .*exclude_classes",
    ):
        split(labels, groups, 0.2, 0.2, 0, ("NV", "DF"))


def test_groups_that_hold_rarer_classes():
    labels = np.array([0, 1] * 3)
    groups = ["a", "a", "b", "b", "c", "c"]
    parts = split(labels, groups, 0.3, 0.3, 0, ABC)
    assert [len(index) for index in parts.values()] == [2, 2, 2]


@pytest.mark.parametrize(("val", "test"), [(0, 0.2), (0.2, 0), (0.5, 0.5)])
def test_bad_shares(val, test):
    """A space says so in its own words; see `search/space/checks.py`."""
    with pytest.raises(AssertionError):
        split(*made(), val, test, 0, ABC)


def test_subset_is_nested_grouped_and_keeps_every_class():
    labels, groups = made()
    index = split(labels, groups, 0.2, 0.2, 0, ABC)["train"]
    before: set[int] = set()
    for fraction in (0.01, 0.1, 0.3, 0.6, 1.0):
        part = subset(labels, groups, index, fraction, seed=3)
        assert before <= set(part.tolist()) <= set(index.tolist())
        assert set(labels[part]) == {0, 1, 2}
        rest = np.setdiff1d(index, part)
        assert not names(groups, part) & names(groups, rest)
        before = set(part.tolist())
    assert before == set(index.tolist())


def test_subset_share_on_real_images(mini):
    table = Plugin(mini, {}).table()
    index = split(table.labels, table.groups, 0.15, 0.15, 0, table.classes)["train"]
    whole = np.bincount(table.labels[index])
    part = np.bincount(table.labels[subset(table.labels, table.groups, index, 0.1, 0)])
    assert np.abs(part - 0.1 * whole).max() <= 3


def test_bad_fraction():
    labels, groups = made()
    with pytest.raises(AssertionError):
        subset(labels, groups, np.arange(len(labels)), 0, 0)
