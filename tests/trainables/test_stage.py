"""Stages for real: resumed, repeated, on one rank and on two, with the parent's backbone."""

import json
import math

import numpy as np
import pytest
import torch
import torch.multiprocessing
from safetensors.torch import load_file

from search.proposal import Proposal
from tests.trainables import small
from trainables.checkpoint import NAME, Progress
from trainables.downstream.finetune import finetune
from trainables.errors import StageFailed, UserError
from trainables.spec import Runtime
from trainables.stage import BACKBONE, train_stage

RUNTIME = Runtime(threads=1, log_every=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    torch.set_num_threads(1)
    return small.prepared(tmp_path_factory.mktemp("cache"))


class Killed(Exception):
    """Stands for a process that dies at a report."""


def dying(after):
    seen = []

    def report(progress):
        seen.append(progress)
        if len(seen) == after:
            raise Killed

    return report


def quiet(progress):
    assert progress


def losses(folder):
    return [row["loss"] for row in json.loads((folder / "history.json").read_text())["train"]]


def stage(data, task, *more):
    return small.plan(data, *more).stages(Proposal.parse(task))[-1]


@pytest.mark.parametrize("task", ["relative_location", "moco", "odc"])
@pytest.mark.parametrize("after", [3, 8])
def test_a_killed_stage_goes_on_to_the_same_weights(data, tmp_path, task, after):
    spec = stage(data, task)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = train_stage(spec, RUNTIME, data, None, whole, quiet)
    often = Runtime(threads=1, log_every=2, checkpoint_seconds=0)
    with pytest.raises(Killed):
        train_stage(spec, often, data, None, cut, dying(after))
    saved = Progress.load(cut)
    assert (saved.phase, saved.step) > (0, 0)
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
    single, pair = small.plan(data).stages(Proposal.parse("odc>moco"))
    assert pair.parent == single.key()
    train_stage(single, RUNTIME, data, None, parent, quiet)
    kept = {}

    from trainables import loop

    original = loop.Loop._prepare

    def spy(self, rate, steps):
        task, _ = original(self, rate, steps)
        kept.update({k: v.clone() for k, v in task.backbone.state_dict().items()})
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


def test_a_diverged_rate_loses_and_an_edge_is_flagged(data, tmp_path):
    spec = stage(data, "relative_location", "tasks.relative_location.lr_range=[0.01,1e30]")
    result = train_stage(spec, RUNTIME, data, None, tmp_path, quiet)
    assert result["lr"] == 0.01
    assert result["lr_at_edge"]
    trials = json.loads((tmp_path / "history.json").read_text())["lr_range"]
    assert [trial["diverged"] for trial in trials] == [False, True]
    assert trials[1]["score"] is None
    assert "loss is" in trials[1]["reason"]


def test_when_every_rate_diverges_the_stage_fails_with_the_reason(data, tmp_path):
    spec = stage(data, "relative_location", "tasks.relative_location.lr_range=[1e30,1e31]")
    with pytest.raises(StageFailed, match=r"every rate of the range failed \(1e\+30, 1e\+31\)"):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)


def test_a_batch_larger_than_the_data_names_both(data, tmp_path):
    spec = stage(data, "moco", "profile.batch=1024")
    with pytest.raises(UserError, match="batch of 1024 images: only"):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)


def test_finetuning_writes_what_the_report_reads_and_resumes(data, tmp_path):
    import pyarrow.parquet as pq

    spec = small.plan(data).downstream(Proposal(("scratch",)))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    reports = []
    expected = finetune(spec, RUNTIME, data, None, whole, reports.append)
    often = Runtime(threads=1, log_every=2, checkpoint_seconds=0)
    with pytest.raises(Killed):
        finetune(spec, often, data, None, cut, dying(len(reports) - 2))
    assert (cut / NAME).exists()
    result = finetune(spec, often, data, None, cut, quiet)
    for key in ("balanced_accuracy", "ci_low", "ci_high", "best_epoch", "lr", "loss"):
        assert result[key] == expected[key], key
    table = pq.read_table(whole / "val.parquet").to_pydict()
    assert table["label"] == data.labels[data.split["val"]].tolist()
    predicted = np.stack([table[f"p{k}"] for k in range(len(data.classes))]).argmax(0)
    hits = [
        np.mean(predicted[np.array(table["label"]) == k] == k) for k in sorted(set(table["label"]))
    ]
    assert math.isclose(100 * np.mean(hits), expected["balanced_accuracy"])
    assert expected["ci_low"] <= expected["balanced_accuracy"] <= expected["ci_high"]


def _rank(rank, world, folder, spec, data_dir):
    import torch.distributed as dist

    from trainables.cache import open_cache

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    train_stage(spec, RUNTIME, open_cache(data_dir), None, folder, quiet)
    dist.destroy_process_group()


@pytest.mark.parametrize("task", ["relative_location", "moco", "odc"])
def test_two_ranks_make_the_update_that_one_makes(data, tmp_path, task):
    """At a low rate: BatchNorm over eight images amplifies rounding from step to step."""
    data_dir = next(p.parent for p in tmp_path.parent.glob("cache*/*/manifest.json"))
    weights = {}
    for name, rate, world in (("start", 1e-12, 1), ("one", 1e-4, 1), ("two", 1e-4, 2)):
        folder = tmp_path / name
        folder.mkdir()
        spec = stage(data, task, f"tasks.{task}.lr_range=[{rate}]", "profile.epochs=0.4")
        if world == 1:
            train_stage(spec, RUNTIME, data, None, folder, quiet)
        else:
            torch.multiprocessing.spawn(_rank, (2, folder, spec, data_dir), nprocs=2)
        state = load_file(folder / BACKBONE)
        weights[name] = {k: v for k, v in state.items() if v.is_floating_point()}
    assert np.allclose(losses(tmp_path / "one"), losses(tmp_path / "two"), rtol=1e-4)
    for key, start in weights["start"].items():
        moved = weights["one"][key] - start
        apart = weights["one"][key] - weights["two"][key]
        assert moved.norm() > 0, key
        assert apart.norm() < 0.02 * moved.norm() + 1e-6, key


def test_fine_tuning_starts_from_a_weight_file_and_refuses_one_that_does_not_fit(tmp_path):
    from torchvision.models.resnet import BasicBlock, ResNet

    from trainables.backbone import Backbone
    from trainables.downstream.finetune import load_weights

    whole = ResNet(BasicBlock, [1, 1, 1, 1])
    torch.save(whole.state_dict(), tmp_path / "imagenet.pth")
    backbone = Backbone("resnet10")
    load_weights(backbone, tmp_path / "imagenet.pth")
    expected = whole.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in backbone.state_dict().items())
    with pytest.raises(UserError, match=r"imagenet\.pth does not fit the backbone"):
        load_weights(Backbone("resnet18"), tmp_path / "imagenet.pth")
