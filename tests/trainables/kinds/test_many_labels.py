"""Several labels an image, trained: masked loss, two labels learnt, probes, external sets."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.backbone import Backbone
from trainables.data import Table
from trainables.downstream import probes
from trainables.downstream.classifier import Classifier, ManyClassifier, Recipe, made
from trainables.errors import UserError
from trainables.images.cache import Prepared
from trainables.images.splits import split
from trainables.kinds import Work
from trainables.kinds.classify import Plugin as Classify
from trainables.kinds.classify import check_objective
from trainables.kinds.external import Plugin as External
from trainables.kinds.external import check_labels, placed
from trainables.kinds.probe import Plugin as Probe
from trainables.task import Batch, Draw
from trainables.training.loop import context

SIDE = 40
LEARNT = (
    "probe=true", "downstream.objective=macro_auroc", "downstream.lr_range=[0.96]",
    "downstream.params.head_lr=1",
    "profile.downstream_batch=8", "profile.downstream_steps=36", "profile.label_fraction=1",
    "profile.downstream_lr_steps=3",
)  # fmt: skip


def drawn(count: int = 40, ignored: bool = True) -> Prepared:
    """Images of noise: label A is a bright disc in the middle, B fine stripes; both or none."""
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(count) % 2, np.arange(count) // 2 % 2], axis=1)
    down, right = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    disc = 150 * (down**2 + right**2 < 80)
    stripes = 100 * ((np.arange(SIDE) // 2) % 2)[:, None] * np.ones((1, SIDE))
    pixels = rng.integers(40, 80, (count, SIDE, SIDE))
    pixels = pixels + labels[:, :1, None] * disc + labels[:, 1:, None] * stripes
    names = tuple(f"i{i:03}" for i in range(count))
    parts = split(labels, names, 0.2, 0.2, 0, ("A", "B"))
    if ignored:
        labels = labels.copy()
        labels[parts["train"][3], 1] = labels[parts["val"][2], 0] = -1
    return Prepared(
        names, labels, names, ("A", "B"),
        images=np.repeat(pixels[..., None], 3, axis=3).astype(np.uint8), split=parts,
        duplicates=(), merged=False, mean=(0.3,) * 3, std=(0.2,) * 3, digest="d", name="drawn",
        demo=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def many() -> Prepared:
    torch.set_num_threads(1)
    return drawn()


def classifier(labels, balanced):
    spec = small.plan(drawn(), *LEARNT).score(Node.parse("scratch"))
    known = context(spec, len(labels), (0.3,) * 3, (0.2,) * 3, repeated=True)
    torch.manual_seed(0)
    recipe = Recipe(class_balanced=balanced)
    return made(Backbone("resnet10", 3), known, torch.from_numpy(labels), 3, recipe)


def slow_loss(logits, labels, all_labels, balanced):
    """Image by image and label by label; divided by the weights of the batch."""
    total = weights = 0.0
    for i, row in enumerate(labels):
        for k, value in enumerate(row):
            if value < 0:
                continue
            own = [one[k] for one in all_labels if one[k] >= 0]
            weight = len(own) / (2 * own.count(value)) if balanced else 1.0
            p = torch.sigmoid(logits[i, k].double())
            total += -weight * torch.log(p if value == 1 else 1 - p)
            weights += weight
    return total / weights


@pytest.mark.parametrize("balanced", [False, True])
def test_the_masked_loss_is_that_of_a_slow_oracle(balanced):
    rng = np.random.default_rng(1)
    labels = rng.choice([-1, 0, 1], (30, 3), p=[0.3, 0.5, 0.2])
    task = classifier(labels, balanced).eval()
    assert isinstance(task, ManyClassifier)
    images = torch.from_numpy(rng.integers(0, 256, (8, 3, SIDE, SIDE), np.uint8))
    batch = Batch(images, torch.arange(5, 13), Draw(0, 0, 8, "cpu"), 0)
    loss, _ = task(batch)
    with torch.no_grad():
        logits = task.head(task.backbone(task.view(images, Draw(0, 0, 8, "cpu"))))
    expected = slow_loss(logits, labels[5:13].tolist(), labels.tolist(), balanced)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_label_that_is_not_known_moves_nothing():
    labels = np.array([[1, 0, -1], [0, 1, -1]] * 4)
    task = classifier(labels, True)
    images = torch.zeros(8, 3, SIDE, SIDE, dtype=torch.uint8)
    loss, metrics = task(Batch(images, torch.arange(8), Draw(0, 0, 8, "cpu"), 0))
    loss.backward()
    moved = task.head.bias.grad
    assert moved[2] == 0
    assert (moved[:2] != 0).any() or loss.isfinite()
    assert torch.equal(task.head.weight.grad[2], torch.zeros_like(task.head.weight.grad[2]))
    assert 0 <= metrics["accuracy"] <= 1


def test_one_label_an_image_is_still_cross_entropy():
    task = classifier(np.arange(12) % 3, False)
    assert type(task) is Classifier
    images = torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8)
    task.eval()
    loss, _ = task(Batch(images, torch.arange(4), Draw(0, 0, 4, "cpu"), 0))
    logits = task.head(task.backbone(task.view(images, Draw(0, 0, 4, "cpu"))))
    assert loss.item() == pytest.approx(F.cross_entropy(logits, torch.arange(4) % 3).item())


@pytest.mark.parametrize("count", [1, 30])
def test_a_rare_label_does_not_scale_the_loss(count):
    """Logits near 0 give ln 2, whatever a batch holds: 54 times as much before."""
    labels = np.zeros((200, 3), int)
    labels[:count] = 1
    task = classifier(labels, True).eval()
    images = torch.zeros(8, 3, SIDE, SIDE, dtype=torch.uint8)
    loss, _ = task(Batch(images, torch.arange(8), Draw(0, 0, 8, "cpu"), 0))
    assert loss.item() == pytest.approx(np.log(2), abs=0.1)


def test_the_head_learns_faster_than_the_backbone_and_nothing_is_lost():
    task = classifier(np.arange(12) % 3, True)
    groups = task.parameter_groups()
    fast = {id(p) for group in groups if group["lr_scale"] == 10.0 for p in group["params"]}
    assert fast == {id(p) for p in task.head.parameters()}
    every = [id(p) for group in groups for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in task.parameters())
    undecayed = [p for g in groups if g.get("weight_decay") == 0 for p in g["params"]]
    assert {p.ndim for p in undecayed} == {1}


@pytest.fixture(scope="module")
def tuned(many, tmp_path_factory):
    folder = tmp_path_factory.mktemp("score")
    spec = small.plan(many, *LEARNT).score(Node.parse("scratch"))
    done = Classify().run(Work(spec, RUNTIME, folder, quiet, {"images": many}))
    return folder, done.score


def test_both_of_two_independent_labels_are_learnt(many, tuned):
    folder, score = tuned
    assert score.objective == "macro_auroc"
    assert score.value > 95
    assert score.measures["auroc/A"].value > 90
    assert score.measures["auroc/B"].value > 90
    columns = pq.read_table(folder / "test.parquet").to_pydict()
    assert list(columns) == ["image", "group", "y0", "y1", "p0", "p1"]
    truth = many.labels[many.split["test"]]
    assert np.array_equal(np.stack([columns["y0"], columns["y1"]], 1), truth)
    said = np.stack([columns["p0"], columns["p1"]], 1)
    assert roc_auc_score(truth, said, average="macro") > 0.9
    assert (said.sum(1) != 1).all(), "each label by itself"
    assert json.loads((folder / "meta.json").read_text())["labels"] == "many"


def test_predictions_on_validation_keep_what_is_not_known(many, tuned):
    columns = pq.read_table(tuned[0] / "val.parquet").to_pydict()
    truth = np.stack([columns["y0"], columns["y1"]], 1)
    assert np.array_equal(truth, many.labels[many.split["val"]])
    assert (truth == -1).sum() == 1


def test_an_external_set_is_judged_by_the_labels_that_it_has(many, tuned, tmp_path):
    plan = replace(
        small.plan(many, *LEARNT, "+external.other={name: demo}"), external_digests={"other": "e"}
    )
    spec = plan.score(replace(Node.parse("scratch"), external="other"))
    outside = replace(
        many, classes=("B",), labels=many.labels[:, 1:],
        split={"train": np.array([], int), "val": np.array([], int), "test": np.arange(40)},
    )  # fmt: skip
    work = Work(spec, RUNTIME, tmp_path, quiet, {"external": outside}, inputs={"score": tuned[0]})
    found = External().run(work).score
    assert found.value == found.measures["auroc/B"].value > 90
    assert "auroc/A" not in found.measures
    columns = pq.read_table(tmp_path / "test.parquet").to_pydict()
    assert set(columns["y0"]) == {-1}
    assert columns["y1"] == many.labels[:, 1].tolist()


def test_merged_labels_of_an_external_set():
    labels = np.array([[1, 0, 0], [0, -1, 1], [0, 0, -1], [-1, 1, 0]])
    table = Table(("a", "b", "c", "d"), labels, ("a", "b", "c", "d"), ("x", "y", "z"))
    assert placed(table, [2, 2, 0], 3).tolist() == [
        [0, -1, 1], [1, -1, -1], [-1, -1, 0], [0, -1, 1],
    ]  # fmt: skip


def test_refusals():
    with pytest.raises(UserError, match=r"external\.x\.params\.labels=null: must be many"):
        check_labels(False, True, "x")
    with pytest.raises(UserError, match=r"downstream\.objective=accuracy: must be one of macro_"):
        check_objective("accuracy", True)
    check_objective("accuracy", False)


@pytest.mark.parametrize("on", ["train", "val"])
def test_frozen_probes(many, tuned, tmp_path, on):
    """On fine-tuned features both probes know both labels, from other patients."""
    plan = small.plan(many, *LEARNT)
    spec = plan.probe(Node.parse("scratch"))
    spec = replace(spec, params={**spec.params, "on": on}, inputs={"backbone": "any"})
    work = Work(spec, RUNTIME, tmp_path, quiet, {"images": many}, inputs={"backbone": tuned[0]})
    found = Probe().run(work).score
    assert found.measures.keys() == {"linear", "knn"}
    for measure in found.measures.values():
        assert measure.low <= measure.value <= measure.high
        assert measure.value > 85


def test_probes_of_labels_that_features_do_not_hold():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 2))
    features = torch.from_numpy(np.hstack([labels[:, :1] * 4, rng.normal(size=(200, 6))])).float()
    patients = np.array([f"p{i // 4}" for i in range(200)])
    labels[rng.random(200) < 0.2, 0] = -1
    for name, said in probes.cross_validated(features, labels, patients, 2, 0).items():
        known = labels[:, 0] >= 0
        assert roc_auc_score(labels[known, 0], said[known, 0]) > 0.9, name
        assert 0.3 < roc_auc_score(labels[:, 1], said[:, 1]) < 0.7, name


def test_too_few_patients_give_no_probe(tmp_path):
    lone = drawn(40, ignored=False)
    spec = small.plan(lone, *LEARNT).probe(Node.parse("scratch"))
    data = replace(lone, groups=("p",) * 40)
    assert Probe().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data})).score.measures == {}
