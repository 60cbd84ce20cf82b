"""The loop: rates that fail, checkpoints that cost little, a stage that is no longer wanted."""

import json
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from unittest import mock

import pytest

from tests.trainables import small
from tests.trainables.small import RUNTIME, at, losses, quiet, stage
from trainables.errors import StageFailed, Stopped
from trainables.kinds.pretext import train_stage
from trainables.spec import Runtime
from trainables.training import loop
from trainables.training.checkpoint import FULL, Run, Runs


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


@pytest.mark.slow
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
    few = ["tasks.rotation.lr_range=[0.01]", "profile.steps=112", "profile.batch=4"]
    spec = stage(data, "rotation", *few)
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


def test_a_trial_of_a_fine_tuning_is_judged_by_its_last_evaluation_not_its_best():
    run = Run(0.1, rows=[{"objective": 90.0}, {"objective": 40.0}])
    loop_ = SimpleNamespace(evaluate=True, merit=lambda value: -value)
    assert loop.Loop._judged(loop_, run, None) == -40.0


def test_a_trial_keeps_its_rate_after_the_warm_up_and_the_full_run_decays(data, tmp_path):
    more = ("tasks.rotation.lr_range=[0.01,0.02]", "profile.steps=10", "profile.lr_steps=10")
    spec = stage(data, "rotation", *more)
    seen = {}
    original = loop.Step.rate_at

    def rate_at(self, step):
        found = original(self, step)
        seen.setdefault((self.rate, self.decays), {})[step] = found / self.rate
        return found

    with mock.patch.object(loop.Step, "rate_at", rate_at):
        train_stage(spec, RUNTIME, data, None, tmp_path, quiet)
    trials = [factors for (_, decays), factors in seen.items() if not decays]
    (full,) = [factors for (_, decays), factors in seen.items() if decays]
    assert len(trials) == 2
    assert all(factors[9] == 1 for factors in trials)
    assert full[9] < 0.1
    rows = json.loads((tmp_path / "history.json").read_text())["train"]
    assert rows[-1]["lr"] == pytest.approx(full[9] * rows[0]["lr"] / full[rows[0]["step"] - 1])


def test_a_run_that_is_trained_is_held_once(data, tmp_path, monkeypatch):
    """Only the others' states are kept beside it; no start, once the rate is chosen."""
    seen = []
    original = loop.Loop._flush

    def flush(self, run, *given):
        kept = [one.lr for one in self.runs.by_name.values() if one.tensors]
        seen.append((self._phase, run.lr in kept, len(kept), bool(self._started)))
        return original(self, run, *given)

    monkeypatch.setattr(loop.Loop, "_flush", flush)
    spec = at(stage(data, "rotation", "profile.lr_steps=10"), 0.001, 0.002, 0.004)
    train_stage(spec, RUNTIME, data, None, tmp_path, quiet)
    assert {phase for phase, *_ in seen} == {"LR 0.001", "LR 0.002", "LR 0.004", "training"}
    assert not any(held for _, held, *_ in seen)
    assert max(kept for _, _, kept, _ in seen) == 2
    assert {started for phase, *_, started in seen if phase == "training"} == {False}


def test_a_range_grows_and_the_further_rate_is_in_the_history(data, tmp_path, monkeypatch):
    """The score is the rate, so the highest wins, at most two beyond the end."""
    spec = at(stage(data, "rotation"), 0.001, 0.002)
    policy = replace(spec.trained.lr, grow=2)
    spec = replace(spec, training=replace(spec.trained, lr=policy))
    monkeypatch.setattr(loop.Loop, "_judged", lambda _, run, __: run.lr)
    result = train_stage(spec, RUNTIME, data, None, tmp_path, quiet)
    trials = json.loads((tmp_path / "history.json").read_text())["lr_range"]
    assert [trial["lr"] for trial in trials] == [0.001, 0.002, 0.004, 0.008]
    assert result["lr"] == 0.008
    assert result["lr_at_edge"]
    assert result["lr_steps"] == sum(trial["steps"] for trial in trials)
