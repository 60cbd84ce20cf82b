"""Options, overrides and the machine, made into a request."""

import os
from pathlib import Path

import pytest

from search.console.commands import parse
from search.console.request import check_given, request
from trainables.errors import UserError


def asked(*more, gpus=0):
    return request(parse(["--space", "isic3", *more]), gpus)


@pytest.mark.parametrize(
    ("more", "gpus", "data", "profile"),
    [
        ([], 0, "demo", "demo"),
        ([], 2, "demo", "demo"),
        (["--data", "x"], 2, "isic2019", "gpu"),
        (["--data", "x"], 0, "isic2019", "cpu"),
        (["data.root=x"], 0, "isic2019", "cpu"),
        (["data=folder"], 0, "folder", "cpu"),
        (["profile=smoke"], 2, "demo", "smoke"),
    ],
)
def test_what_was_not_said_follows_from_the_rest(more, gpus, data, profile):
    space = asked(*more, gpus=gpus).space
    assert (space.data.name, space.profile.name) == (data, profile)


def test_options_stand_for_overrides_and_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = asked("--data", "d", "--policy", "tpe", "--budget", "9", "store=file://s", "cache=c")
    space = found.space
    assert (space.policy.name, space.budget.stages) == ("tpe", 9)
    here = [space.data.root, space.store, space.cache, str(found.out)]
    assert here == [os.path.join(tmp_path, one) for one in ("d", "s", "c", "runs/isic3-d")]
    assert asked("--out", "o").out == tmp_path / "o"


def test_files_of_starts_and_features_are_found_from_any_folder(tmp_path, monkeypatch):
    """As workers on other nodes have another one."""
    monkeypatch.chdir(tmp_path)
    found = asked("starts.imagenet=a.pth", "+starts.own=timm", "+baselines.features.x=f.parquet")
    starts = {name: one.weights for name, one in found.space.starts.items()}
    assert starts == {"scratch": None, "imagenet": str(tmp_path / "a.pth"), "own": "timm"}
    assert found.space.baselines.features == {"x": str(tmp_path / "f.parquet")}


def test_a_budget_of_gpu_hours_needs_a_gpu():
    assert asked("--budget", "2gpuh", gpus=1).space.budget.gpu_hours == 2
    with pytest.raises(UserError, match=r"^budget=2 GPU-hours: must be stages or wall time"):
        asked("--budget", "2gpuh")


@pytest.mark.parametrize("option", ["--data", "--out", "--policy", "--tracking-uri", "--address"])
def test_an_option_that_was_given_nothing(option):
    with pytest.raises(UserError, match=f"^{option}= : must not be empty; try leaving"):
        check_given(parse(["--space", "isic3", option, " "]))


def test_drawn_images_have_no_folder():
    with pytest.raises(UserError, match=r"^--data=x: must be left out with data=demo"):
        asked("--data", "x", "data=demo")
    assert asked("data=demo").out == Path("runs/isic3-demo").absolute()
