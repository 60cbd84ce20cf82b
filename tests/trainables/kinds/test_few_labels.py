"""Few labels: fewer images than a batch, tiny epochs, probes judged on validation."""

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

MORE = ("probe=true", "downstream.lr_range=[0.001,0.01]", "profile.downstream_steps=21")
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


def test_a_few_labels_are_fine_tuned_for_as_many_steps_with_twenty_evaluations(data, tmp_path):
    spec = small.plan(data, *MORE).score(FEW)
    curves = []
    done = Classify().run(
        Work(spec, RUNTIME, tmp_path, lambda beat: curves.append(beat.curve), {"images": data})
    )
    rows = json.loads((tmp_path / "history.json").read_text())["train"]
    assert (
        len(rows) == len([c for c in curves if c]) == 11
    )  # every second of 21 steps, and the last
    assert rows[-1]["step"] == done.values["steps"] == 21
    assert rows[-1]["epoch"] >= 21
    assert 0 <= done.score.value <= 100


def test_the_profiles_own_fraction_is_trained_once(data):
    plan = small.plan(data, *MORE)
    usual = replace(FEW, labels=0.5)
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
