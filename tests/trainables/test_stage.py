"""Stages for real: resumed, repeated, on one rank and on two, with the parent's backbone."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from safetensors.torch import load_file

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, Killed, at, dying, losses, quiet, stage
from trainables.augment import FullView
from trainables.backbone import WEIGHTS as BACKBONE
from trainables.backbone import Backbone, group_batch_norm, load_backbone
from trainables.downstream.measures import MEASURES
from trainables.errors import MachineFault, UserError
from trainables.images.splits import subset
from trainables.kinds import KINDS, Work, classify
from trainables.kinds.classify import finetune
from trainables.kinds.pretext import train_stage
from trainables.plugins import load
from trainables.spec import IMAGES, POOL, Runtime, canonical_json
from trainables.storage import CHECKPOINT
from trainables.training import distributed, loop
from trainables.training.checkpoint import Runs
from trainables.training.evaluation import fit
from trainables.workers.job import Job

WHOLE = "moco", "odc", "rotation"  # the update of every task: pretext/test_ranks.py


@pytest.mark.slow
@pytest.mark.parametrize("task", ["odc", "moco"])  # the others: test_contract.py
def test_a_stage_killed_twice_goes_on_to_the_same_weights(data, tmp_path, task):
    spec = stage(data, task)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = train_stage(spec, RUNTIME, data, None, whole, quiet)
    often = Runtime(threads=1, log_every=2, checkpoint_seconds=0)
    steps = [0]
    for after in (3, 5):  # in a trial of the LR range, and later
        with pytest.raises(Killed):
            train_stage(spec, often, data, None, cut, dying(after))
        steps.append(sum(run.step for run in Runs.load(cut).by_name.values()))
    assert steps[0] < steps[1] < steps[2]
    result = train_stage(spec, often, data, None, cut, quiet)
    assert result["loss"] == expected["loss"]
    assert result["lr"] == expected["lr"]
    assert losses(cut) == losses(whole)
    ours, theirs = load_file(cut / BACKBONE), load_file(whole / BACKBONE)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_next_stage_starts_from_the_parent_bit_for_bit(data, tmp_path):
    parent, child = tmp_path / "parent", tmp_path / "child"
    parent.mkdir()
    child.mkdir()
    single, pair = small.plan(data).stages(Node.parse("odc>moco"))
    assert pair.inputs == {"backbone": single.key()}
    train_stage(single, RUNTIME, data, None, parent, quiet)
    kept = {}

    original = loop.Loop._prepare

    def spy(self, rate, steps):
        task, _ = original(self, rate, steps)
        kept.update({k: v.clone() for k, v in task.backbone.net.state_dict().items()})
        raise Killed

    loop.Loop._prepare = spy
    try:
        with pytest.raises(Killed):
            train_stage(pair, RUNTIME, data, parent, child, quiet)
    finally:
        loop.Loop._prepare = original
    given = load_file(parent / BACKBONE)
    assert kept.keys() == given.keys()
    assert all(torch.equal(kept[key], given[key]) for key in given)


def test_a_batch_larger_than_the_data_names_both(data, tmp_path):
    spec = stage(data, "moco", "profile.batch=1024")
    with pytest.raises(UserError, match="=1024: must be at most the"):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)


@pytest.mark.slow
def test_finetuning_writes_what_the_report_reads_and_resumes(data, tmp_path):
    import pyarrow.parquet as pq

    spec = small.plan(data).score(Node.parse("scratch"))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    reports = []
    expected = finetune(spec, RUNTIME, data, None, whole, reports.append)
    often = Runtime(threads=1, log_every=2, checkpoint_seconds=0)
    with pytest.raises(Killed):
        finetune(spec, often, data, None, cut, dying(len(reports) - 2))
    assert (cut / CHECKPOINT).exists()
    result = finetune(spec, often, data, None, cut, quiet)
    assert result.score == expected.score
    for key in ("lr", "loss"):
        assert result.values[key] == expected.values[key], key
    table = pq.read_table(whole / "val.parquet").to_pydict()
    assert table["label"] == data.labels[data.split["val"]].tolist()
    predicted = np.stack([table[f"p{k}"] for k in range(len(data.classes))]).argmax(0)
    hits = [
        np.mean(predicted[np.array(table["label"]) == k] == k) for k in sorted(set(table["label"]))
    ]
    score = expected.score
    assert math.isclose(100 * np.mean(hits), score.value)
    assert score.low <= score.value <= score.high
    assert {*MEASURES, f"specificity/{data.classes[0]}"} <= score.measures.keys()
    canonical_json(asdict(score))  # no NaN


def tuned(data, folder, *more):
    """Fine-tune for six steps at one rate, evaluated after each; the rows of its history."""
    folder.mkdir()
    chosen = ("downstream.lr_range=[0.1]", "profile.downstream_steps=6")
    score = small.plan(data, *chosen, *more).score(Node.parse("scratch"))
    small_epochs = replace(score, training=replace(score.trained, fraction=0.05))
    reports = []
    done = finetune(small_epochs, RUNTIME, data, None, folder, reports.append)
    curves = [report.curve for report in reports if report.curve]
    return done, json.loads((folder / "history.json").read_text())["train"], curves


def test_the_last_step_is_scored_whatever_came_before(data, tmp_path, monkeypatch):
    done, rows, curves = tuned(data, tmp_path / "a", "downstream.objective=brier")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert done.score.value == pytest.approx(rows[-1]["objective"])
    assert curves[-1] == tuple(-row["objective"] for row in rows)
    falling = iter(range(90, 0, -10))
    monkeypatch.setattr(classify, "_value", lambda *_: float(next(falling)))
    again, rows, _ = tuned(data, tmp_path / "b", "downstream.objective=accuracy")
    assert [row["objective"] for row in rows] == [90, 80, 70, 60, 50, 40]
    assert again.score.measures == done.score.measures
    kept = [load_file(tmp_path / name / BACKBONE) for name in "ab"]
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[0])


def test_batch_norm_is_fitted_to_evaluation_views_before_it_is_evaluated(data, tmp_path):
    """The exported statistics are those of the exported weights, not a lagging average."""
    tuned(data, tmp_path / "a")
    saved = load_file(tmp_path / "a" / BACKBONE)
    backbone = load_backbone(Backbone("resnet10", 3), tmp_path / "a")
    group_batch_norm(backbone, 2)
    for key, value in backbone.net.state_dict().items():
        if "running" in key:
            value.fill_(7.0)
    encode = torch.nn.Sequential(FullView(data.mean, data.std, 32), backbone)
    index = subset(data.labels, data.groups, data.split["train"], 0.05, 0)
    fit(encode, encode, data, index, RUNTIME)
    for key, value in backbone.net.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(value, saved[key], msg=key)


def _other_images(rank, folder, data_dir):
    """Rank 1 has other images than the driver; both say so and live on."""
    import torch.distributed as dist

    from trainables.images.cache import open_cache
    from trainables.workers import worker

    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    prepared = open_cache(data_dir)
    digest = prepared.digest if rank == 0 else "another"
    worker._open = lambda *_: replace(prepared, digest=digest)
    spec = stage(prepared, "rotation")
    (folder / "STORE.json").write_text('{"id": "one"}')
    job = Job("key", "rotation", spec, {}, {}, str(folder / "key.part"), "", RUNTIME, "one")
    with pytest.raises(MachineFault, match="must hold the same images on every node"):
        worker.perform(job, quiet)
    assert distributed.all_gather_object(str(rank)) == ["0", "1"]
    dist.destroy_process_group()


@pytest.mark.slow
def test_images_that_differ_on_one_rank_fail_the_stage_on_all(data, tmp_path):
    data_dir = Path(data.images.filename).parent
    torch.multiprocessing.spawn(_other_images, (tmp_path, data_dir), nprocs=2)


def _rank(rank, world, folder, specs, data_dir):
    """Each stage in a folder of its own, under `folder`."""
    import torch.distributed as dist

    from trainables.images.cache import open_cache

    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
        )
    images = open_cache(data_dir)
    for name, spec in specs.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        work = Work(spec, RUNTIME, folder / name, quiet, {POOL: images, IMAGES: images})
        load(KINDS, spec.kind)().run(work)
    if world > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(data, tmp_path_factory):
    """Folders of the stages: hardly trained, trained on one rank, on two.

    At a low rate: BatchNorm over eight images amplifies rounding from step to step.
    """
    root = tmp_path_factory.mktemp("ranks")
    data_dir = Path(data.images.filename).parent
    for name, rate, world in (("start", 1e-12, 1), ("one", 16e-4, 1), ("two", 16e-4, 2)):
        specs = {}
        for task in WHOLE:
            gentler = 4 if task == "rotation" else 1  # four passes a view amplify most
            specs[task] = at(stage(data, task, "profile.steps=4"), rate / gentler)
        _on(world, root / name, specs, data_dir)
    return root


def _on(world, folder, specs, data_dir):
    folder.mkdir()
    if world == 1:
        _rank(0, 1, folder, specs, data_dir)
    else:
        torch.multiprocessing.spawn(_rank, (world, folder, specs, data_dir), nprocs=world)


@pytest.mark.slow
@pytest.mark.parametrize("task", WHOLE)
def test_two_ranks_make_the_update_that_one_makes(ranks, task):
    start, one, two = (ranks / name / task for name in ("start", "one", "two"))
    assert np.allclose(losses(one), losses(two), rtol=1e-4)
    weights = [load_file(folder / BACKBONE) for folder in (start, one, two)]
    for key, first in weights[0].items():
        if first.is_floating_point():
            moved = weights[1][key] - first
            apart = weights[1][key] - weights[2][key]
            assert moved.norm() > 0, key
            assert apart.norm() < 0.02 * moved.norm() + 1e-6, key
    confusions = [json.loads((f / "history.json").read_text())["confusion"] for f in (one, two)]
    if confusions[0] is not None:
        difference = np.abs(np.subtract(*confusions)).sum() / 2
        assert difference <= 0.01 * np.sum(confusions[0])


@pytest.mark.slow
def test_two_ranks_choose_the_rate_and_tune_as_one_does(data, tmp_path):
    """A stage that a frozen probe judges, and a fine-tuning, each with two rates."""
    more = ("lr_judge=probe", "profile.curve=1", "profile.steps=4", "profile.lr_steps=4")
    probed = at(stage(data, "rotation", *more), 4e-4, 64e-4)
    tuned = small.plan(data, "profile.downstream_steps=4").score(Node.parse("scratch"))
    specs = {"probed": probed, "tuned": at(tuned, 4e-4, 16e-4)}
    for world in (1, 2):
        _on(world, tmp_path / str(world), specs, Path(data.images.filename).parent)
    for name in specs:
        one, two = (json.loads((tmp_path / w / name / "history.json").read_text()) for w in "12")
        scores = [[[*t["scores"].values()] for t in h["lr_range"]] for h in (one, two)]
        assert scores[0] == pytest.approx(np.array(scores[1]), abs=1), name
        assert [r["lr"] for r in one["train"]] == [r["lr"] for r in two["train"]], name
        assert losses(tmp_path / "1" / name) == pytest.approx(
            losses(tmp_path / "2" / name), rel=1e-4
        )
        curves = [[row["macro_auroc"] for row in h["probes"]] for h in (one, two)]
        assert curves[0] == pytest.approx(curves[1], abs=1), name


def test_the_exported_statistics_are_those_of_full_views(data, tmp_path):
    """Rotation sees crops: fitted again, to whole images, the exported statistics stay."""
    spec = small.at(small.stage(data, "rotation"), 0.01)
    train_stage(spec, small.RUNTIME, data, None, tmp_path, small.quiet)
    exported, again = (load_backbone(Backbone("resnet10"), tmp_path) for _ in range(2))
    group_batch_norm(again, spec.training.bn_groups)
    view = FullView(data.mean, data.std, spec.training.image_size)
    some = data.split["train"][: spec.training.steps * spec.training.global_batch]
    fit(again, torch.nn.Sequential(view, again), data, some, small.RUNTIME)
    for name, value in exported.net.state_dict().items():
        if "running_" in name:
            torch.testing.assert_close(again.net.state_dict()[name], value, msg=name)
