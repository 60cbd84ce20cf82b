"""The benchmark as a user runs it: one task for a moment. Rates are not judged, only the rest."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from trainables.bench import recipes
from trainables.bench.__main__ import main
from trainables.bench.measure import Measured, turn
from trainables.bench.pipelines import Loaded, Ours, keep_views
from trainables.bench.public import image_views
from trainables.bench.recipes import Recipes
from trainables.images.cache import open_cache, prepare
from trainables.plugins import available

CPU = torch.device("cpu")
MINI = Path(__file__).parents[3] / "shared" / "data" / "isic-mini"


def test_ratios_are_of_turns_that_ran_side_by_side():
    """The machine was twice as slow in the second turn: both ratios are 2, of medians it isn't."""
    mine, theirs = Measured([200, 100, 90], 0, 0), Measured([100, 50, 60], 0, 0)
    assert mine.over(theirs) == 2
    assert mine.images_per_second / theirs.images_per_second != 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    spec = replace(Recipes("smoke", CPU).data("demo"), params={"n": 160, "size": 32})
    return open_cache(prepare(spec, None, tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("task", available("trainables.pretext"))
def test_torchvision_makes_views_as_many_and_as_large_as_ours(data, task):
    """Read off the task: a new one is compared without a line here or in the benchmark."""
    recipes = Recipes("smoke", CPU)
    pipeline = Ours(recipes.stage(task, recipes.data("demo"), data), data, CPU)
    kept = keep_views(pipeline.advance.task, pipeline.step)
    assert kept
    public = image_views({name: (one.maker, len(one.views)) for name, one in kept.items()})
    theirs = public(Image.new("RGB", (60, 45)))
    ours = {name: [view[0].shape for view in one.views] for name, one in kept.items()}
    assert {name: [view.shape for view in views] for name, views in theirs.items()} == ours


def test_files_may_leave_out_what_a_space_gives_them(data, tmp_path, monkeypatch):
    """A task's file may have only its name; a profile's, what differs from `cpu`."""
    for group, name, text in (
        ("task", "moco", "name: moco\nweight_decay: 0.5\n"),
        ("profile", "own", "name: own\nbatch: 8\n"),
        ("profile", "cpu", (recipes.SPACES / "profile" / "cpu.yaml").read_text()),
        ("modality", "dermoscopy", "hflip: true\n"),
    ):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{name}.yaml").write_text(text)
    whole = Recipes("cpu", CPU).sizes
    monkeypatch.setattr(recipes, "SPACES", tmp_path)
    own = Recipes("own", CPU)
    assert own.sizes == {**whole, "name": "own", "batch": 8}
    training = own.stage("moco", own.data("demo"), data).training
    assert (training.optimizer, training.weight_decay) == ("sgd", 0.5)
    assert training.lr.range == (pytest.approx(0.03 * recipes.GENTLE),)


class Pids(Loaded):
    """Trains nothing; remembers which processes made its batches."""

    def train(self, views, positions):
        self.seen.append(set(views["pid"][0].tolist()))
        assert len(positions) == 64
        return {"loss": torch.zeros(())}


def test_workers_start_once_and_rest_between_turns(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    files = [tmp_path / "a.png"] * 3
    loaded = Pids(files, lambda _: {"pid": [torch.tensor(os.getpid())]}, 64, CPU, 2)
    loaded.seen = []
    for _ in range(3):
        turn(loaded, 0.0, CPU)
        assert not loaded.files.go.is_set()
    assert len(loaded.seen) == (1 + 1 + 1) + 2 * 2  # warm steps of the first turn, then of others
    assert len(set.union(*loaded.seen)) == 2
    loaded.end()


@pytest.mark.slow
def test_a_moment_of_one_task(tmp_path, capsys):
    if not MINI.is_dir():
        pytest.skip(f"no real images at {MINI}")
    args = ["--tasks", "rotation", "--seconds", "0.2", "--profile", "smoke", "--data", str(MINI)]
    assert main([*args, "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "throughput.json").read_text()) == result
    assert (tmp_path / "throughput.png").stat().st_size > 10_000
    rates = {name: one["rate"] for name, one in result["tasks"]["rotation"]["pipelines"].items()}
    assert {"ours", "limit", "step alone", "torchvision"} <= set(rates)
    assert all(rate > 0 for rate in rates.values())
    assert result["cache"]["bytes"] == result["cache"]["shape"][1] ** 2 * 3


def test_a_misspelt_task_names_the_near_one(capsys):
    assert main(["--tasks", "rotaton"]) == 2
    said = capsys.readouterr().err
    assert "try rotation" in said
    assert said.count("\n") == 1
