"""The loop: rates that fail, checkpoints that cost little, a stage that is no longer wanted."""

import json
from itertools import pairwise

import pytest

from tests.trainables import small
from tests.trainables.small import RUNTIME, at, losses, quiet, stage
from trainables.errors import StageFailed, Stopped
from trainables.kinds.pretext import train_stage
from trainables.spec import Runtime
from trainables.training import loop
from trainables.training.checkpoint import FULL, Runs


def test_a_diverged_rate_loses_and_an_edge_is_flagged(data, tmp_path):
    spec = at(stage(data, "relative_location"), 0.01, 1e30)
    result = train_stage(spec, RUNTIME, data, None, tmp_path, quiet)
    assert result["lr"] == 0.01
    assert result["lr_at_edge"]
    trials = json.loads((tmp_path / "history.json").read_text())["lr_range"]
    assert [trial["diverged"] for trial in trials] == [False, True]
    assert [*trials[1]["scores"].values()][-1] is None
    assert "loss is" in trials[1]["reason"]


@pytest.mark.parametrize("task", small.TASKS)
def test_a_loss_that_is_no_number_stops_the_stage_with_the_step(data, tmp_path, task):
    spec = at(stage(data, task), 1e30)
    with pytest.raises(StageFailed, match=r"^loss is (nan|inf) at step \d+ \(training\)$"):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)


def test_when_every_rate_diverges_the_stage_fails_with_the_reason(data, tmp_path):
    spec = at(stage(data, "relative_location"), 1e30, 1e31)
    with pytest.raises(StageFailed, match=r"every rate of the range failed \(1e\+30, 1e\+31\)"):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)


def test_checkpoints_take_a_small_share_of_the_time(data, tmp_path, monkeypatch):
    """A step takes a second of this clock, writing the checkpoint five: 150 until the next."""
    now, saved = [0.0], []

    def clock():
        now[0] += 1.0
        return now[0]

    def save(*_):
        saved.append(now[0])
        now[0] += 5.0

    monkeypatch.setattr(loop.time, "perf_counter", clock)
    monkeypatch.setattr(Runs, "save", save)
    spec = stage(data, "rotation", "tasks.rotation.lr_range=[0.01]", "profile.steps=112")
    runtime = Runtime(threads=1, log_every=1, checkpoint_seconds=0)
    train_stage(spec, runtime, data, None, tmp_path, quiet)
    assert len(saved) > 1
    assert min(after - before for before, after in pairwise(saved)) >= loop.PATIENCE * 5


@pytest.mark.parametrize("told", [6, -1], ids=["on the way", "at the last step"])
def test_an_unwanted_stage_leaves_at_that_very_report_and_loses_nothing(data, tmp_path, told):
    spec = stage(data, "rotation", "tasks.rotation.lr_range=[0.01]")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    steps = []
    expected = train_stage(spec, RUNTIME, data, None, whole, lambda beat: steps.append(beat.step))
    last = max(step for step in steps if step) if told < 0 else told
    with pytest.raises(Stopped, match=rf"^at step {last} \(training\)$"):
        train_stage(spec, RUNTIME, data, None, cut, lambda beat: beat.step == last)
    assert Runs.load(cut).by_name[FULL].step == last
    assert train_stage(spec, RUNTIME, data, None, cut, quiet)["loss"] == expected["loss"]
    assert losses(cut) == losses(whole)
