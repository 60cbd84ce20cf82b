"""Probes of frozen features: a k-nearest-neighbour vote and a linear classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainables.images.splits import Index

NEIGHBOURS = 20
Features = Tensor  # float32 [n, width], on the CPU


def knn(train: Features, labels: Index, query: Features, classes: int) -> Index:
    """Predict the class of each query by a weighted vote of its NEIGHBOURS nearest: int64 [n].

    A vote weighs exp(cosine / 0.07), as in Wu et al., 2018, divided by the size of its class.
    """
    similarity = F.normalize(query, dim=1) @ F.normalize(train, dim=1).T
    nearest, place = similarity.topk(min(NEIGHBOURS, len(train)), dim=1)
    target = torch.from_numpy(labels)
    size = torch.bincount(target, minlength=classes).clamp(min=1)
    votes = (nearest / 0.07).exp() / size[target[place]]
    scores = torch.zeros(len(query), classes).scatter_add_(1, target[place], votes)
    return scores.argmax(1).numpy()


def linear(train: Features, labels: Index, query: Features) -> Index:
    """Predict by class-balanced logistic regression on standardised features: int64 [n]."""
    from sklearn.linear_model import LogisticRegression  # imported here: it takes 1.5 s
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train.numpy())
    model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300, tol=1e-3)
    model.fit(scaler.transform(train.numpy()), labels)
    return model.predict(scaler.transform(query.numpy()))
