"""External test sets: a finished fine-tuning judged on images from elsewhere."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.errors import UserError
from trainables.images.cache import open_cache, prepare
from trainables.kinds import Work
from trainables.kinds.classify import Plugin as Classify
from trainables.kinds.external import Plugin, positions
from trainables.spec import DataSpec

OURS = ("MEL", "NV", "BCC")


def test_classes_are_matched_by_name_or_by_the_map():
    assert positions(["BCC", "NV"], OURS, {}, "other") == [2, 1]
    assert positions(["nevus", "MEL"], OURS, {"nevus": "NV"}, "other") == [1, 0]
    assert positions(
        ["common", "atypical"], OURS, dict.fromkeys(["common", "atypical"], "NV"), "x"
    ) == [1, 1]


def test_a_class_that_nothing_is_known_of_is_refused_with_the_cure():
    with pytest.raises(UserError) as caught:
        positions(["NV", "melanoma"], OURS, {}, "other")
    said = str(caught.value)
    assert said.startswith("external.other.classes.melanoma=melanoma: must be one of MEL, NV, BCC")
    assert "+external.other.params.exclude_classes=[melanoma]" in said
    with pytest.raises(UserError, match=r"external\.other\.classes\.nevi=NV: must rename a class"):
        positions(["NV"], OURS, {"nevi": "NV"}, "other")


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A fine-tuning from scratch: its folder and its result."""
    folder = tmp_path_factory.mktemp("score")
    spec = small.plan(data, "downstream.lr_range=[0.01]").score(Node.parse("scratch"))
    done = Classify().run(Work(spec, RUNTIME, folder, quiet, {"images": data}))
    return folder, done


def _spec(data, **classes):
    mapped = ", ".join(f"{theirs}: {ours}" for theirs, ours in classes.items())
    changed = ["+external.other={name: demo, classes: {" + mapped + "}}"]
    plan = replace(small.plan(data, *changed), external_digests={"other": "e" * 16})
    return plan.graph(replace(Node.parse("scratch#1000"), external="other"))


def test_the_graph_ends_with_the_judgement_of_the_finished_score(data):
    *_, tuned, judged = _spec(data)
    assert (tuned.kind, judged.kind, judged.name) == ("classify", "external", "other")
    assert judged.inputs == {"score": tuned.key()}
    assert judged.data["external"].digest == "e" * 16
    assert (judged.data["external"].spec.val, judged.data["external"].spec.test) == (0.0, 1.0)
    assert judged.training is None


def test_on_the_same_images_it_answers_as_the_fine_tuning_did(data, finished, tmp_path):
    folder, done = finished
    spec = _spec(data)[-1]
    work = Work(spec, RUNTIME, tmp_path, quiet, {"external": data}, {"score": folder})
    found = Plugin().run(work).score
    written = pq.read_table(tmp_path / "test.parquet")
    assert written["image"].to_pylist() == list(data.names)
    columns = [f"p{k}" for k in range(len(data.classes))]
    told = np.stack([written[c].to_numpy() for c in columns], 1)
    val = pq.read_table(folder / "val.parquet")
    expected = np.stack([val[c].to_numpy() for c in columns], 1)
    assert told[data.split["val"]] == pytest.approx(expected, abs=1e-5)
    right = told.argmax(1) == data.labels
    recall = np.mean([right[data.labels == k].mean() for k in range(len(data.classes))])
    assert found.objective == done.score.objective
    assert found.value == pytest.approx(100 * recall)
    assert found.low <= found.value <= found.high


def test_fewer_classes_under_other_names_are_judged_by_their_meaning(data, finished, tmp_path):
    """Its NV is called nevus and its order is another: the same answers count."""
    folder, _ = finished
    some = np.flatnonzero(np.isin(data.labels, [0, 1]))
    theirs = replace(
        data, images=data.images[some], labels=1 - data.labels[some],
        classes=("nevus", data.classes[0]), names=tuple(data.names[i] for i in some),
        groups=tuple(data.groups[i] for i in some), sites=("here",) * len(some),
    )  # fmt: skip
    spec = _spec(data, nevus=data.classes[1])[-1]
    Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, {"external": theirs}, {"score": folder}))
    written = pq.read_table(tmp_path / "test.parquet")
    assert written["label"].to_pylist() == data.labels[some].tolist()
    assert set(written["source"].to_pylist()) == {"here"}
    assert json.loads((tmp_path / "meta.json").read_text())["classes"] == list(data.classes)


def test_all_images_of_a_set_for_testing_are_test_images(tmp_path):
    """No split has to be possible: there may be one patient of a class."""
    spec = DataSpec("demo", {"n": 9, "size": 32}, 32, 3, 0.0, 1.0, 0)
    found = open_cache(prepare(spec, None, tmp_path))
    assert {part: len(index) for part, index in found.split.items()} == {
        "train": 0,
        "val": 0,
        "test": 9,
    }
    assert np.isfinite(found.mean).all()
