"""Train, validation and test: every patient group in one part only, every class in all three.

    split(labels, groups, 0.15, 0.15, seed, classes)["train"]   # sorted positions
    given(table, 0.15, 0.15, seed)["train"]                     # where the data set has its own
    subset(labels, groups, index, fraction=0.1, seed=0)         # the fraction to label

Where images may have several labels, both values of every label are in all three (iterative.py).
Patient groups are ordered by a hash of seed and name, so neither the order of the rows nor numpy's
version matters.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.data import Table
from trainables.data._files import some
from trainables.data._guess import setting
from trainables.data._many import varying
from trainables.errors import UserError
from trainables.images import iterative

Index = NDArray[np.int64]
PARTS = ("train", "val", "test")


def split(
    labels: Index, groups: Sequence[str], val: float, test: float, seed: int, classes: Sequence[str]
) -> dict[str, Index]:
    """Return the sorted positions of each part.

    labels, groups: class and patient group of each image, [n], or labels [n, classes] as in
    `Table`. val, test: fractions of every class's images. classes: their names. UserError if a
    class can't be in all parts.
    """
    assert min(val, test, 1 - val - test) > 0, (val, test)
    fractions = {"train": 1 - val - test, "val": val, "test": test}
    parts = _drawn(labels, groups, fractions, seed, classes)
    check(parts, groups)
    return parts


def given(
    table: Table, val: float, test: float, seed: int, published: bool = False
) -> dict[str, Index]:
    """Return the parts that the data set gives; what it lacks is drawn from its training images.

    published: patient groups may cross, and there need be no test part. UserError if they cross
    otherwise, or a class has no image in a part.
    """
    parts = {name: np.flatnonzero(np.array(table.parts) == name) for name in PARTS}
    if (crossed := crossing(parts, table.groups)) and not published:
        raise UserError(
            f"the data set's own split: must keep patient groups apart, and {len(crossed)} of them "
            f"({some(crossed)}) have images in more than one part; try a split without them, or "
            "data.params.protocol=published, which allows it and says everywhere that it leaks"
        )
    fractions = {"val": val} if published else {"val": val, "test": test}
    lacking = {name: part for name, part in fractions.items() if not len(parts[name])}
    if lacking:
        train, groups = parts["train"], np.asarray(table.groups)
        fractions = {"train": 1 - sum(lacking.values()), **lacking}
        drawn = _drawn(table.labels[train], groups[train], fractions, seed, table.classes)
        parts |= {name: train[index] for name, index in drawn.items()}
    if table.many:
        _check_known(table, parts)
        return parts
    for name, index in parts.items():
        absent = np.setdiff1d(table.labels, table.labels[index])
        if len(absent) and (len(index) or name == "train"):
            label = table.classes[absent[0]]
            raise UserError(
                f"class {label}: must have an image in {name}, and has none in the data set's own "
                f"split; try {excluding(label)}"
            )
    return parts


def _check_known(table: Table, parts: Mapping[str, Index]) -> None:
    """Raise UserError unless all labels can be trained on, and some can be measured."""
    if untrained := unmeasured(table, parts["train"]):
        raise UserError(
            f"labels {some(untrained)}: must be 1 and 0 in images of train, and are not in the "
            f"data set's own split; try {excluding(*untrained)}"
        )
    for name in ("val", "test"):
        if len(parts[name]) and len(unmeasured(table, parts[name])) == len(table.classes):
            raise UserError(
                f"the data set's own split: must have 1 and 0 of some label in {name}, and has "
                "none; try a split without it"
            )


def unmeasured(table: Table, index: Index) -> list[str]:
    """Return the labels that are not both 1 and 0 in these images."""
    both = varying(table.labels[index])
    return [label for label, known in zip(table.classes, both, strict=True) if not known]


def crossing(parts: dict[str, Index], groups: Sequence[str]) -> list[str]:
    """Return the patient groups with images in more than one part, sorted."""
    sides = [{groups[i] for i in index} for index in parts.values()]
    counts = Counter(group for side in sides for group in side)
    return sorted(group for group, count in counts.items() if count > 1)


def leak(parts: dict[str, Index], groups: Sequence[str]) -> str:
    """Describe in one sentence what a published protocol lets through."""
    crossed, total = len(crossing(parts, groups)), len(set(groups))
    test = "" if len(parts["test"]) else ", and there is no test part"
    return (
        f"LEAKS, as the published protocol does: {crossed} of {total} patient groups have images "
        f"in more than one part{test}; scores are too high"
    )


def _drawn(
    labels: Index,
    groups: Sequence[str] | NDArray[np.str_],
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> dict[str, Index]:
    """Draw the parts in whole patient groups; UserError if a class can't be in all of them."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    counts = _counts(labels, member)
    if labels.ndim == 2:
        part = _iterative(counts, names, member, fractions, seed, classes)
        return {name: np.flatnonzero(part[member] == p) for p, name in enumerate(fractions)}
    for label, have in enumerate((counts > 0).sum(0)):
        if 0 < have < len(fractions):
            raise UserError(
                f"class {classes[label]}: must have {len(fractions)} patient groups (lesions or "
                f"patients), one each for {_listed(fractions)}, and has "
                f"{counts[:, label].sum()} images of only {have} "
                f"({some(names[counts[:, label] > 0].tolist())}); try merging it with another "
                f"class, {excluding(classes[label])}, or another data.params.group_column if these "
                "are no patients"
            )
    rank = _rank(names, seed)
    part = np.full(len(names), -1)
    for label in _rare_first(counts):
        _assign(part, counts[:, label], rank, np.array(list(fractions.values())))
    parts = {name: np.flatnonzero(part[member] == p) for p, name in enumerate(fractions)}
    for name, index in parts.items():
        for label in np.setdiff1d(labels, labels[index]):
            raise UserError(
                f"class {classes[label]}: must have a patient group for {name}, and its own "
                f"hold rarer classes too; try another seed, or {excluding(classes[label])}"
            )
    return parts


def _iterative(
    counts: Index,
    names: NDArray[np.str_],
    member: NDArray[np.intp],
    fractions: Mapping[str, float],
    seed: int,
    classes: Sequence[str],
) -> Index:
    """Return the part of every patient group; UserError if a label can't be in all of them."""
    enough: NDArray[np.bool_] = (counts > 0).sum(0) >= len(fractions)
    rare = _lacking(enough, classes)
    if rare:
        raise UserError(
            f"labels {some(rare)}: must be 1, and 0, in {len(fractions)} patient groups each, for "
            f"{_listed(fractions)}, and are not; try {excluding(*rare)}"
        )
    shares = np.array(list(fractions.values()))
    part = iterative.assign(counts, np.bincount(member), _rank(names, seed), shares)
    has = np.stack([(counts[part == p] > 0).any(0) for p in range(len(fractions))])
    if lacking := _lacking(np.all(has, axis=0), classes):
        raise UserError(
            f"labels {some(lacking)}: must be 1, and 0, in a patient group of each part, and their "
            f"own hold rarer labels too; try another seed, or {excluding(*lacking)}"
        )
    return part


def folds(labels: Index, groups: NDArray[np.str_], count: int, seed: int) -> Index:
    """Return the fold of every image of several labels: patient groups are kept together."""
    names, member = np.unique(groups, return_inverse=True)
    even = np.full(count, 1 / count)
    counts = _counts(labels, member)
    return iterative.assign(counts, np.bincount(member), _rank(names, seed), even)[member]


def _lacking(enough: NDArray[np.bool_], classes: Sequence[str]) -> list[str]:
    """Return the labels that have not enough of both values. enough: see `iterative.values`."""
    both = np.all(enough.reshape(2, len(classes)), axis=0)
    return [label for label, known in zip(classes, both, strict=True) if not known]


def all_test(images: int) -> dict[str, Index]:
    """Return the parts of a data set that is for testing only."""
    nothing = np.array([], np.int64)
    return {"train": nothing, "val": nothing, "test": np.arange(images)}


def excluding(*labels: str) -> str:
    return setting("exclude_classes", [*labels])


def _listed(fractions: Mapping[str, float]) -> str:
    *first, last = fractions
    return f"{', '.join(first)} and {last}"


def check(parts: dict[str, Index], groups: Sequence[str]) -> None:
    """Assert that every image and every patient group is in exactly one part."""
    assert tuple(parts) == PARTS, tuple(parts)
    rows = np.sort(np.concatenate(list(parts.values())))
    assert np.array_equal(rows, np.arange(len(groups))), "an image is in no part, or in two"
    side: dict[str, str] = {}
    for part, index in parts.items():
        for group in {groups[i] for i in index}:
            assert side.setdefault(group, part) == part, (group, side[group], part)


def subset(labels: Index, groups: Sequence[str], index: Index, fraction: float, seed: int) -> Index:
    """Choose about `fraction` of every class's images in `index`, in whole patient groups.

    Every class keeps at least one image, and where images may have several labels, both values of
    each. With one seed, a smaller fraction is a subset of a larger one.
    """
    assert 0 < fraction <= 1, fraction
    names, member = np.unique(np.asarray(groups)[index], return_inverse=True)
    counts = _counts(labels[index], member)
    order = np.argsort(_rank(names, seed))
    taken, owned = np.zeros(len(names), bool), np.zeros(len(names), bool)
    for label in _rare_first(counts):
        having = order[counts[order, label] > 0]
        mine = having[~owned[having]]
        size = counts[mine, label]
        taken[mine[np.cumsum(size) - size / 2 <= fraction * size.sum()]] = True
        taken[having[:1]] = True
        owned[having] = True
    return index[taken[member]]


def _counts(labels: Index, member: NDArray[np.intp]) -> Index:
    """Count images: [patient groups, classes], or [patient groups, values of several labels]."""
    if labels.ndim == 2:
        counts = np.zeros((member.max() + 1, 2 * labels.shape[1]), np.int64)
        np.add.at(counts, member, iterative.values(labels))
        return counts
    counts = np.zeros((member.max() + 1, labels.max() + 1), np.int64)
    np.add.at(counts, (member, labels), 1)
    return counts


def _rank(names: NDArray[np.str_], seed: int) -> Index:
    """Return every patient group's place in an order drawn by the seed."""
    drawn = [hashlib.sha256(f"{seed}:{name}".encode()).digest() for name in names]
    rank = np.empty(len(names), np.int64)
    rank[sorted(range(len(names)), key=drawn.__getitem__)] = np.arange(len(names))
    return rank


def _rare_first(counts: Index) -> Index:
    """Order classes by patient groups, so that a mixed patient group counts for the rarest."""
    groups = (counts > 0).sum(0)
    order = np.argsort(groups, kind="stable")
    return order[groups[order] > 0]


def _assign(part: Index, size: Index, rank: Index, target: NDArray[np.float64]) -> None:
    """Assign a class's patient groups, large first, each to the part filled least."""
    done = (size > 0) & (part >= 0)
    filled = np.bincount(part[done], size[done], minlength=len(target))
    todo = np.flatnonzero((size > 0) & (part < 0))
    todo = todo[np.lexsort((rank[todo], -size[todo]))]
    for at, group in enumerate(todo):
        empty = np.flatnonzero(filled == 0)
        forced = len(todo) - at <= len(empty)
        choice = empty if forced else np.arange(len(target))
        chosen = choice[np.argmin((filled[choice] + size[group] / 2) / target[choice])]
        part[group] = chosen
        filled[chosen] += size[group]
