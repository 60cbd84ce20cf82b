"""Probes of frozen features: a k-nearest-neighbour vote and a linear classifier.

answers = cross_validated(features, labels, patients, classes=8, seed=0)
answers["linear"]           # [n, classes], how likely each class is, told by other patients' images
"""

import warnings
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from trainables.images.splits import Index, folds

NEIGHBOURS = 20
FOLDS = 5
SIMILARITIES = 1 << 24  # computed at once
NAMES = ("linear", "knn")
Features = Tensor  # float32 [n, width], on the CPU
Floats = NDArray[np.floating]


def cross_validated(
    features: Features, labels: Index, groups: NDArray[np.str_], classes: int, seed: int
) -> dict[str, Floats]:
    """Tell every image by the images of other patient groups: [n, classes] by `linear`, `knn`.

    labels, groups: class or several labels, and patient group of each image.
    """
    answers: dict[str, Floats]
    answers = {name: np.zeros((len(features), classes)) for name in NAMES}
    fold = _fold_of(labels, groups, seed)
    for k in np.unique(fold):
        known, asked = fold != k, fold == k
        found = answered(features[known], labels[known], features[asked], classes)
        for name, said in found.items():
            answers[name][asked] = said
    return answers


def _fold_of(labels: Index, groups: NDArray[np.str_], seed: int) -> Index:
    """Return the fold of every image; patient groups are kept together."""
    from sklearn.model_selection import StratifiedGroupKFold  # imported here: it takes 1.5 s

    count = possible_folds(labels, groups)
    if labels.ndim == 2:
        return folds(labels, groups, count, seed)
    fold = np.zeros_like(labels)
    drawn = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer patients than folds
        for k, (_, asked) in enumerate(drawn.split(labels, labels, groups)):
            fold[asked] = k
    return fold


def answered(
    features: Features,
    labels: Index,
    asked: Features,
    classes: int,
    names: Collection[str] = NAMES,
) -> dict[str, Floats]:
    """Return probabilities for the images asked: [n, classes] by the probes named."""
    if labels.ndim == 2:
        return many(features, labels, asked, names)
    answers: dict[str, Floats] = {}
    if "linear" in names:
        present, found = linear_probabilities(features, labels, asked)
        answers["linear"] = np.zeros((len(asked), classes))
        answers["linear"][:, present] = found
    if "knn" in names:
        answers["knn"] = knn_votes(features, labels, asked, classes).numpy()
    return answers


def possible_folds(labels: Index, groups: NDArray[np.str_]) -> int:
    """Return the number of folds: some class needs a patient group for each; below 2: none."""
    if labels.ndim == 2:
        own = [[len(np.unique(groups[column == v])) for v in (0, 1)] for column in labels.T]
        return min(FOLDS, max(map(min, own)))
    return min(FOLDS, max(len(np.unique(groups[labels == k])) for k in np.unique(labels)))


def knn_votes(train: Features, labels: Index, query: Features, classes: int) -> Tensor:
    """Return the weighted votes of each query's NEIGHBOURS nearest, summing to 1: [n, classes].

    A vote weighs exp(cosine / 0.07), as in Wu et al., 2018, divided by the size of its class.
    """
    known, count = F.normalize(train, dim=1).T, min(NEIGHBOURS, len(train))
    blocks = F.normalize(query, dim=1).split(max(1, SIMILARITIES // len(train)))
    found = [(block @ known).topk(count, dim=1) for block in blocks]
    nearest, place = (torch.cat(parts) for parts in zip(*found, strict=True))
    target = torch.from_numpy(labels)
    size = torch.bincount(target, minlength=classes).clamp(min=1)
    votes = (nearest / 0.07).exp() / size[target[place]]
    scores = torch.zeros(len(query), classes).scatter_add_(1, target[place], votes)
    return scores / scores.sum(1, keepdim=True)


class Linear(NamedTuple):
    """A linear classifier of features: their logits are features @ weight.T + bias."""

    classes: Index  # [classes]: those of the labels that it learnt from
    weight: Floats  # [classes, width]
    bias: Floats  # [classes]


def linear(train: Features, labels: Index, balanced: bool = True) -> Linear:
    """Learn logistic regression on standardised features. balanced: all classes weigh alike."""
    from sklearn.linear_model import LogisticRegression  # imported here: it takes 1.5 s
    from sklearn.preprocessing import StandardScaler

    if len(present := np.unique(labels)) == 1:
        return Linear(present, np.zeros((1, train.shape[1])), np.zeros(1))
    scaler, weight = StandardScaler().fit(train.numpy()), "balanced" if balanced else None
    model = LogisticRegression(C=0.01, class_weight=weight, max_iter=300, tol=1e-3)
    model.fit(scaler.transform(train.numpy()), labels)
    slopes = model.coef_ / scaler.scale_
    shift = model.intercept_ - slopes @ scaler.mean_
    if len(present) == 2:  # the model has one row, for the second class
        slopes, shift = np.stack([0 * slopes[0], slopes[0]]), np.stack([0 * shift[0], shift[0]])
    return Linear(present, slopes, shift)


def linear_probabilities(
    train: Features, labels: Index, query: Features
) -> tuple[Index, NDArray[np.floating]]:
    """Return the classes and their probabilities: int64 [classes], [n, classes]."""
    learnt = linear(train, labels)
    return learnt.classes, softmax(query.numpy() @ learnt.weight.T + learnt.bias, axis=1)


def many(
    train: Features, labels: Index, query: Features, names: Collection[str] = NAMES
) -> dict[str, Floats]:
    """Return how likely each query has each label, [n, labels], by the probes named.

    Each label is learnt by itself, from the images of which it is known; 0.5 if these are alike.
    """
    found = {name: np.full((len(query), labels.shape[1]), 0.5) for name in names}
    for k, column in enumerate(labels.T):
        known = np.flatnonzero(column >= 0)
        if len(np.unique(column[known])) == 2:
            learnt = train[known], column[known], query
            if "linear" in names:
                found["linear"][:, k] = linear_probabilities(*learnt)[1][:, 1]
            if "knn" in names:
                found["knn"][:, k] = knn_votes(*learnt, 2)[:, 1].numpy()
    return found
