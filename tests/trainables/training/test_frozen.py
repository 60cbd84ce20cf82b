"""Probes of a backbone in training: known answers, what they see, and that nothing else moves."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, Killed, at, dying, losses, quiet, stage
from trainables.backbone import WEIGHTS
from trainables.errors import UserError
from trainables.images.cache import Source
from trainables.kinds import Work
from trainables.kinds.pretext import Plugin, build, train_stage
from trainables.spec import IMAGES, POOL, Runtime
from trainables.training import frozen, loop
from trainables.training.checkpoint import Runs
from trainables.training.frozen import KNN, MACRO_AUROC, RANKME, FrozenProbe
from trainables.training.loop import Loop, context

SHORT = ("profile.steps=4", "profile.lr_steps=4")
PROBED = (*SHORT, "lr_judge=probe", "profile.curve=2")
RATES = (0.001, 0.003, 0.01)


@pytest.fixture(scope="module")
def spec(data):
    return stage(data, "rotation", *PROBED)


@pytest.fixture(scope="module")
def task(data, spec):
    torch.manual_seed(0)
    known = context(spec, len(data.split["train"]), data.mean, data.std)
    return build(spec, None, known)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_rankme_counts_the_directions_in_use(count):
    features = torch.eye(8)[torch.arange(240) % count] * 3
    assert frozen.rankme(features) == pytest.approx(count, rel=1e-4)


def test_features_of_nothing_are_collapsed():
    assert frozen.rankme(torch.zeros(240, 8)) == 1.0


def test_features_that_tell_the_class_have_full_marks_and_noise_has_half(
    data, spec, task, monkeypatch
):
    probe = FrozenProbe.of(spec, data, RUNTIME)
    labels = torch.from_numpy(data.labels[probe.index])
    for features, low, high in (
        (torch.eye(len(data.classes))[labels], 99, 100),
        (torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)), 30, 70),
    ):
        monkeypatch.setattr(frozen, "over", lambda *_, features=features: features)
        found = probe(task)
        assert low <= found[MACRO_AUROC] <= high
        assert low <= found[KNN] <= high
    monkeypatch.setattr(frozen, "over", lambda *_: torch.full((len(labels), 4), np.nan))
    assert all(np.isnan(value) for value in probe(task).values())


def test_only_some_labelled_training_images_are_seen_and_the_task_stays_as_it_was(data, spec, task):
    few = replace(spec, training=replace(spec.trained, fraction=0.5))
    index = frozen.chosen(few, data, data.split["train"])
    assert set(index) < set(data.split["train"])
    blind = data.images.copy()
    blind[np.setdiff1d(np.arange(len(blind)), index)] = 0
    before = {key: value.clone() for key, value in task.state_dict().items()}
    task.train()
    found = [
        FrozenProbe.of(few, replace(data, images=images), RUNTIME)(task)
        for images in (data.images, blind)
    ]
    assert found[0] == found[1]
    assert task.training
    assert all(torch.equal(value, before[key]) for key, value in task.state_dict().items())


def test_no_more_images_than_the_limit(data, spec, monkeypatch):
    monkeypatch.setattr(frozen, "PROBED", 60)
    index = frozen.chosen(spec, data, data.split["train"])
    assert 40 <= len(index) <= 80
    assert set(data.labels[index]) == set(data.labels)


def test_a_learning_curve_changes_no_weight(data, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "PROBED", 40)
    curves, found = [], []
    for count in (0, 2):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        chosen = at(stage(data, "moco", *SHORT, f"profile.curve={count}"), 0.1)
        train_stage(chosen, Runtime(threads=1, log_every=1), data, None, folder, quiet, data)
        curves.append(json.loads((folder / "history.json").read_text())["probes"])
        found.append((losses(folder), load_file(folder / WEIGHTS)))
    steps = chosen.trained.steps
    assert curves[0] == []
    assert [row["step"] for row in curves[1]] == [0, steps // 2, steps]
    assert all({MACRO_AUROC, KNN, RANKME} < row.keys() for row in curves[1])
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][key], value) for key, value in found[1][1].items())


def scripted(monkeypatch, told):
    """Make the probe say `told(rate, step)`: macro AUROC and RankMe; note who asked when."""
    asked = []

    def call(*_):
        rate, step = now[0].lr, now[0].step
        asked.append((rate, step))
        auroc, rank = told(rate, step)
        return {MACRO_AUROC: auroc, KNN: auroc, RANKME: rank}

    now = []
    original = Loop._run

    def watched(self, run, *given):
        now[:] = [run]
        return original(self, run, *given)

    monkeypatch.setattr(FrozenProbe, "__call__", call)
    monkeypatch.setattr(Loop, "_run", watched)
    return asked


@pytest.mark.parametrize("best", [RATES[0], RATES[2]])
def test_the_probe_chooses_the_rate(data, spec, tmp_path, monkeypatch, best):
    scripted(monkeypatch, lambda rate, step: (90.0 if rate == best else 60.0 + step / 100, 10.0))
    roles = {POOL: small.unlabelled(data), IMAGES: data}
    done = Plugin().run(Work(at(spec, *RATES), RUNTIME, tmp_path, quiet, roles))
    assert done.values["lr"] == best


def test_a_rate_whose_features_collapse_is_out_whatever_the_probe_says(
    data, spec, tmp_path, monkeypatch
):
    def told(rate, step):
        return (99.0, 2.4) if rate == 0.01 and step else (60.0, 10.0)

    asked = scripted(monkeypatch, told)
    result = train_stage(at(spec, *RATES), RUNTIME, data, None, tmp_path, quiet, data)
    assert result["lr"] != 0.01
    trials = json.loads((tmp_path / "history.json").read_text())["lr_range"]
    assert [trial["reason"] for trial in trials] == [
        "", "", "collapsed: RankMe 2.4 of 10.0 at the start",
    ]  # fmt: skip
    assert sum(rate == 0.01 for rate, step in asked if step) == 1, "trained on after it was out"


@pytest.mark.slow
def test_a_stage_judged_by_the_probe_resumes_to_the_same(data, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "PROBED", 40)
    monkeypatch.setattr(loop, "PATIENCE", 0)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    spec = at(stage(data, "rotation", *PROBED), 0.03, 0.1)
    reports = []
    expected = train_stage(spec, RUNTIME, data, None, whole, reports.append, data)
    often = Runtime(threads=1, log_every=2, checkpoint_seconds=0)
    with pytest.raises(Killed):
        train_stage(spec, often, data, None, cut, dying(len(reports) - 1), data)
    assert any(run.probes[1:] for run in Runs.load(cut).by_name.values()), "killed too early"
    result = train_stage(spec, often, data, None, cut, quiet, data)
    assert (result["lr"], result["loss"]) == (expected["lr"], expected["loss"])
    histories = [json.loads((path / "history.json").read_text()) for path in (whole, cut)]
    assert histories[0]["probes"] == histories[1]["probes"]
    for one, other in zip(*(history["lr_range"] for history in histories), strict=True):
        assert one["scores"] == other["scores"]


@pytest.mark.parametrize("seed", [0, 1, 2, 1000, 1001])
def test_few_patients_are_more_labels_and_no_failure_whatever_the_seed(data, spec, seed):
    """Two patients a class: half of the labels are one of each, so all are taken."""
    train = np.concatenate(
        [data.split["train"][data.labels[data.split["train"]] == k][:2] for k in (0, 1)]
    )
    few = replace(spec, seed=seed, training=replace(spec.trained, fraction=0.2))
    assert sorted(frozen.chosen(few, data, train)) == sorted(train)


def test_too_few_patients_are_refused_before_anything_is_trained(data, spec):
    class Lone(Source):
        def __init__(self):
            self.table = replace(data, groups=("p",) * len(data.groups))
            self.split, self.spec = data.split, spec.data[POOL].spec

    with pytest.raises(UserError, match="lr_judge=probe: must have labelled training images"):
        Plugin().check(spec, {POOL: Lone(), IMAGES: Lone()})


@pytest.mark.parametrize(
    ("more", "judge", "roles"),
    [
        (("lr_judge=probe",), "probe", {POOL, IMAGES}),
        (("lr_judge=pretext", "profile.curve=2"), "pretext", {POOL, IMAGES}),
        (("lr_judge=pretext",), "pretext", {POOL}),
        (("lr_judge=probe", "lr_policy=full_range"), "pretext", {POOL}),
    ],
)
def test_labelled_images_are_in_the_key_where_they_are_seen(data, more, judge, roles):
    plan = small.plan(data, *more)
    found = plan.stages(Node.parse("odc"))[0]
    assert found.trained.lr.judge == judge
    assert {*found.data} == roles
    assert found.trained.fraction == (0.5 if IMAGES in roles else 1.0)
    score = plan.score(Node.parse("odc"))
    assert (score.trained.lr.judge, score.trained.curve) == ("pretext", 0)
