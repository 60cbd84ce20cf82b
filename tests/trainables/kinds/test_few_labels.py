"""Few labels: fewer images than a batch, hundreds of tiny epochs, probes judged on validation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.images.splits import subset
from trainables.kinds import Work
from trainables.kinds.classify import Plugin as Classify
from trainables.kinds.probe import Plugin as Probe
from trainables.training.feed import Feed
from trainables.training.loop import context

MORE = ("probe=true", "downstream.lr_range=[0.001,0.01]", "profile.downstream_epochs=3")
FEW = replace(Node.parse("scratch#1000"), labels=0.01)


@pytest.mark.parametrize("fraction", [0.001, 0.01, 0.1, 1.0])
def test_every_class_keeps_an_image_and_more_labels_hold_the_fewer(data, fraction):
    train = data.split["train"]
    chosen = subset(data.labels, data.groups, train, fraction, seed=0)
    assert set(data.labels[chosen]) == set(range(len(data.classes)))
    assert set(chosen) <= set(train)
    assert set(subset(data.labels, data.groups, train, fraction / 2, seed=0)) <= set(chosen)


@pytest.mark.parametrize("images", [5, 16, 17, 100])
def test_a_batch_repeats_images_as_evenly_as_possible(data, images):
    feed = Feed(data, data.split["train"][:images], 16, 0, torch.device("cpu"))
    counts = np.bincount(feed.batch(0).index.numpy(), minlength=images)
    assert counts.sum() == 16
    assert counts.max() - counts.min() <= 1
    assert not torch.equal(feed.batch(feed.epoch_steps).index, feed.batch(0).index)


@pytest.mark.parametrize("labels", [0.01, 0.1, 0.5, 1.0])
def test_steps_hardly_depend_on_the_labels(data, labels):
    """Whole batches are lost at the end of an epoch: 16 of up to 31 images are used."""
    spec = small.plan(data, *MORE).score(replace(FEW, labels=labels))
    nominal = max(1, round(labels * len(data.split["train"])))
    steps = context(spec, nominal, (0.5,) * 3, (0.5,) * 3, repeated=True).steps
    usual = small.plan(data, *MORE).score(Node.parse("scratch#1000"))
    all_steps = usual.trained.epochs * usual.trained.fraction * len(data.split["train"]) / 16
    assert 0.5 * all_steps <= steps <= 1.1 * all_steps + 1


def test_a_few_labels_are_fine_tuned_with_as_many_evaluations_as_all(data, tmp_path):
    spec = small.plan(data, *MORE).score(FEW)
    curves = []
    done = Classify().run(
        Work(spec, RUNTIME, tmp_path, lambda beat: curves.append(beat.curve), {"images": data})
    )
    rows = json.loads((tmp_path / "history.json").read_text())["train"]
    assert spec.trained.epochs > 100
    assert len(rows) == len([c for c in curves if c]) == 3
    assert rows[-1]["step"] == done.values["steps"]
    assert rows[-1]["epoch"] > 50
    assert 0 <= done.score.value <= 100


def test_an_ordinary_score_says_nothing_of_evaluations(data):
    plan = small.plan(data, *MORE)
    assert "evaluations" not in plan.score(Node.parse("scratch")).params
    assert plan.score(FEW).params["evaluations"] == 3
    usual = replace(FEW, labels=0.5)  # the profile's own: one training serves both
    assert plan.score(usual).key() == plan.score(replace(FEW, labels=None)).key()


def test_the_probe_of_a_curve_is_judged_on_validation_by_the_objective(data, tmp_path):
    plan = small.plan(data, *MORE, "downstream.objective=macro_auroc")
    for labels in (0.01, 1.0):
        spec = plan.probe(replace(FEW, labels=labels))
        found = Probe().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data})).score
        assert found.measures.keys() == {"linear", "knn"}
    swapped = data.labels.copy()
    swapped[data.split["test"]] = 0
    other = replace(data, labels=swapped)
    assert Probe().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": other})).score == found
    swapped[data.split["val"]] = (swapped[data.split["val"]] + 1) % len(data.classes)
    other = replace(data, labels=swapped)
    assert Probe().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": other})).score != found


def test_one_image_a_class_can_not_be_cross_validated(data, tmp_path):
    plan = small.plan(data, "probe=true", "profile.label_fraction=0.001")
    spec = plan.probe(Node.parse("scratch"))
    done = Probe().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data}))
    assert done.score.measures == {}
