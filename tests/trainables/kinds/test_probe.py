"""Probes: what frozen features know, on images of other patients."""

from dataclasses import replace
from math import nan

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.downstream import probes
from trainables.kinds import Work
from trainables.kinds import probe as kind
from trainables.kinds.probe import Plugin

PATIENTS = np.array([f"p{i // 4}" for i in range(240)])


def test_features_that_tell_the_class_are_found_out_by_both():
    labels = np.arange(240) // 4 % 3
    features = torch.eye(3)[torch.from_numpy(labels)] * 5 + torch.randn(240, 3) * 0.1
    answers = probes.cross_validated(features, labels, PATIENTS, 3, seed=0)
    assert {
        name: balanced_accuracy_score(labels, a.argmax(1)) for name, a in answers.items()
    } == {
        "linear": 1.0, "knn": 1.0,
    }  # fmt: skip


def test_what_only_tells_the_patient_is_of_no_use():
    """Every patient has a place of their own and classes at random: by chance on other patients."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 2).repeat(4)
    place = torch.randn(60, 20).repeat_interleave(4, 0) * 10
    answers = probes.cross_validated(place, labels, PATIENTS, 2, seed=0)
    for name, answer in answers.items():
        assert balanced_accuracy_score(labels, answer.argmax(1)) < 0.75, name
    same = probes.cross_validated(place, labels, np.arange(240).astype(str), 2, seed=0)
    assert balanced_accuracy_score(labels, same["knn"].argmax(1)) > 0.9, "the test could not fail"


def test_votes_in_blocks_are_those_of_all_queries_at_once(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    train, query = (torch.randn(n, 8, generator=rng) for n in (60, 17))
    labels = np.arange(60) % 3
    whole = probes.knn_votes(train, labels, query, 3)
    monkeypatch.setattr(probes, "SIMILARITIES", 5 * 60)
    torch.testing.assert_close(probes.knn_votes(train, labels, query, 3), whole)


def test_probes_learn_from_no_more_images_than_they_can_compare(data, monkeypatch):
    labelled = []

    def encode(index, _):
        labelled.append(len(index))
        return [torch.randn(len(index), 4)]

    for most in (60, 10_000):
        monkeypatch.setattr(kind, "MOST", most)
        kind.probed(kind.Judged(fraction=0.5), data, 0, encode)
    assert labelled[0] == pytest.approx(60, abs=8)
    assert labelled[1] == len(kind.labelled(data, 0.5, 0))


@pytest.mark.parametrize("fault", ["one patient", "not finite"])
def test_what_can_not_be_probed_has_no_measures(data, tmp_path, monkeypatch, fault):
    spec = small.plan(data, "probe=true").probe(Node.parse("scratch"))
    if fault == "one patient":
        data = replace(data, groups=("p",) * len(data.groups))
    else:
        monkeypatch.setattr(kind, "_features", lambda *given: [torch.full((len(given[3]), 2), nan)])
    done = Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data}))
    assert done.score.measures == {}


def test_a_probe_reads_training_images_only(data, tmp_path):
    spec = small.plan(data, "probe=true").probe(Node.parse("scratch"))
    blind = data.images.copy()
    for part in ("val", "test"):
        blind[data.split[part]] = 0
    results = []
    for images in (data.images, blind):
        work = Work(spec, RUNTIME, tmp_path, quiet, {"images": replace(data, images=images)})
        results.append(Plugin().run(work).score)
    assert results[0] == results[1]
    assert results[0].measures.keys() == {"linear", "knn"}
    for measure in results[0].measures.values():
        assert 0 <= measure.low <= measure.value <= measure.high <= 100
