"""Classifiers: classes that weigh alike, and a head that begins as a linear probe."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from search.chains.node import Node
from tests.trainables import small
from trainables.backbone import Backbone
from trainables.downstream import probes
from trainables.downstream.classifier import LEARNT, Recipe, made
from trainables.task import Batch, Draw
from trainables.training.evaluation import evaluating
from trainables.training.loop import context

SIDE, CLASSES = 32, 4


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def classifier(data, labels, **recipe):
    spec = small.plan(data).score(Node.parse("scratch"))
    known = context(spec, len(labels), (0.5,) * 3, (0.2,) * 3, repeated=True)
    torch.manual_seed(0)
    network = Backbone("resnet10", 3)
    classes = labels.max() + 1 if labels.ndim == 1 else labels.shape[1]
    return made(network, known, torch.from_numpy(labels), classes, Recipe(**recipe))


def drawn(count):
    """Images whose brightness tells their class a little, and their classes, of which 3 is rare."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 8 // 2
    labels[labels == 3] = np.where(np.arange((labels == 3).sum()) % 4, 0, 3)
    light = 60 + 40 * labels + rng.normal(0, 20, count)
    noise = rng.normal(0, 30, (count, 3, SIDE, SIDE))
    images = np.clip(light[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    return torch.from_numpy(images), labels


def test_the_loss_is_that_of_logits_with_each_class_s_log_frequency_added(data):
    images, labels = drawn(32)
    task = classifier(data, labels).eval()
    loss, _ = task(Batch(images[8:16], torch.arange(8, 16), Draw(0, 0, 8, "cpu"), 0))
    with torch.no_grad():
        view = task.view(images[8:16], Draw(0, 0, 8, "cpu"))
        logits = task.head(task.backbone(view)).double().numpy()
    shares = [np.mean(labels == k) for k in range(CLASSES)]
    expected = []
    for row, label in zip(logits, labels[8:16], strict=True):
        weighed = [share * np.exp(value) for share, value in zip(shares, row, strict=True)]
        expected.append(-np.log(weighed[label] / sum(weighed)))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("balanced", [True, False])
def test_what_knows_nothing_answers_all_classes_alike_only_if_they_are_balanced(data, balanced):
    images, labels = drawn(64)
    task = classifier(data, labels, class_balanced=balanced)
    torch.nn.init.zeros_(task.head.weight)
    loss, _ = task(Batch(images, torch.arange(64), Draw(0, 0, 64, "cpu"), 0))
    loss.backward()
    assert torch.allclose(task.head.bias.grad, torch.zeros(CLASSES), atol=1e-6) == balanced


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_linear_probe_in_raw_features_is_scikit_learn_s_on_standardised_ones(classes):
    rng = np.random.default_rng(classes)
    labels = np.sort(rng.integers(0, classes, 90)) * 2  # classes 1, 3, ... have no image
    features = torch.from_numpy(rng.normal(5, 3, (90, 12)) + labels[:, None]).float()
    query = torch.from_numpy(rng.normal(6, 3, (20, 12))).float()
    learner = LogisticRegression(C=0.01, class_weight="balanced", max_iter=300, tol=1e-3)
    slow = make_pipeline(StandardScaler(), learner).fit(features.numpy(), labels)
    known, said = probes.linear_probabilities(features, labels, query)
    assert known.tolist() == slow.classes_.tolist()
    assert said == pytest.approx(slow.predict_proba(query.numpy()), abs=1e-5)


def test_one_class_alone_is_certain():
    known, said = probes.linear_probabilities(
        torch.ones(3, 2), np.array([4, 4, 4]), torch.ones(5, 2)
    )
    assert (known.tolist(), said.tolist()) == ([4], [[1.0]] * 5)


@pytest.mark.parametrize("count", [40, LEARNT + 100])
def test_the_head_begins_as_a_linear_probe_of_the_backbone(data, count):
    images, labels = drawn(count)
    task = classifier(data, labels)
    before = {key: value.clone() for key, value in task.backbone.named_parameters()}
    task.start(lambda positions: images[positions])
    assert all(torch.equal(before[key], value) for key, value in task.backbone.named_parameters())
    with evaluating(task):
        features = task.features(images)
        said = task.logits(images).softmax(1).numpy()
    learnt = np.random.default_rng(0).permutation(count)[:LEARNT]
    known, expected = probes.linear_probabilities(features[learnt], labels[learnt], features)
    assert known.tolist() == [0, 1, 2, 3]
    assert said == pytest.approx(expected, abs=1e-4)
    right = [np.mean(said.argmax(1)[labels == k] == k) for k in range(CLASSES)]
    assert np.mean(right) > 0.5  # chance level: 0.25


@pytest.mark.parametrize(("count", "sizes"), [(40, [40]), (300, [300]), (600, [256, 256])])
def test_statistics_are_fitted_to_batches_that_weigh_alike(data, monkeypatch, count, sizes):
    images, labels = drawn(count)
    seen = []
    spy = lambda module, encode, batches: seen.extend(len(batch) for batch in batches)  # noqa: E731
    monkeypatch.setattr("trainables.downstream.classifier.fit_statistics", spy)
    classifier(data, labels).start(lambda positions: images[positions])
    assert seen == sizes


def test_features_that_are_not_finite_leave_the_head_as_it_was_drawn(data):
    images, labels = drawn(40)
    task = classifier(data, labels)
    drawn_head = task.head.weight.clone()
    with torch.no_grad():
        next(task.backbone.parameters()).fill_(float("nan"))
    task.start(lambda positions: images[positions])
    assert torch.equal(task.head.weight, drawn_head)


def test_of_several_labels_each_row_is_a_probe_where_both_values_are_known(data):
    images, labels = drawn(60)
    several = np.stack([labels > 0, labels == 1, labels == 2], 1).astype(np.int64)
    several[::3, 1], several[:, 2] = -1, -1
    task = classifier(data, several)
    drawn_head = task.head.weight.clone()
    task.start(lambda positions: images[positions])
    with evaluating(task):
        features = task.features(images)
        said = task.logits(images).sigmoid().numpy()
    for k in (0, 1):
        known = several[:, k] >= 0
        _, expected = probes.linear_probabilities(features[known], several[known, k], features)
        assert said[:, k] == pytest.approx(expected[:, 1], abs=1e-4)
    assert torch.equal(task.head.weight[2], drawn_head[2])
