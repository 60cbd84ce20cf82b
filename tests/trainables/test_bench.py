"""The benchmark as a user runs it: one task for a moment. Rates are not judged, only the rest."""

import json
from pathlib import Path

import pytest

from trainables.bench.__main__ import main
from trainables.bench.measure import Measured

MINI = Path(__file__).parents[3] / "shared" / "data" / "isic-mini"


def test_ratios_are_of_turns_that_ran_side_by_side():
    """The machine was twice as slow in the second turn: both ratios are 2, of medians it isn't."""
    mine, theirs = Measured([200, 100, 90], 0, 0), Measured([100, 50, 60], 0, 0)
    assert mine.over(theirs) == 2
    assert mine.rate / theirs.rate != 2


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
