"""The simulation itself: a tiny version of it, whose truth is known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.benchmarks import evidence
from tests.benchmarks.evidence import CLASSES, Cell, Search, accuracies, images
from trainables.downstream.measures import Judged

QUIET = Console(quiet=True)


def test_scores_are_those_of_the_measure() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((3, len(images().labels))) < 0.7
    said = np.where(right, images().labels, (images().labels + 1) % len(CLASSES))
    expected = [
        Judged(images(), np.eye(len(CLASSES))[one]).values("balanced_accuracy") for one in said
    ]
    assert accuracies(right) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("lower", [False, True])
def test_the_truth_is_the_mean_over_images_and_seeds(lower: bool) -> None:
    cell, rng = Cell(chains=3, lead=8.0, sd=2.0, lower=lower), np.random.default_rng(0)
    scores = [Search(cell, rng).chosen().values[:, 0].reshape(5, -1).mean(1) for _ in range(150)]
    assert np.mean(scores, axis=0) == pytest.approx(cell.truth, abs=1)


def test_contenders_get_the_seeds_and_starts_get_all() -> None:
    seen = Search(Cell(halving=True), np.random.default_rng(0)).chosen()
    seeds = dict(zip(seen.chains, seen.seeds, strict=True))
    assert seeds["scratch"] == seeds["imagenet"] == (0, 1, 2)
    lengths = sorted(len(some) for name, some in seeds.items() if name.startswith("c"))
    assert (len(lengths), lengths[0], lengths[-1]) == (15, 1, 3)
    assert len(seen.values) == sum(map(len, seeds.values()))


def test_a_tiny_run_finds_what_is_known() -> None:
    found = evidence.run(Cell(chains=6, lead=20.0, sd=0.5), 12, QUIET)
    assert (found["verdict"], found["any lost"], found["planned power"]) == (1, 0, 1)
    assert found["excluded"] == found["of"] == 5
    assert found["row"] > 0.8
    assert found["reported sd"] == pytest.approx(found["true sd"], rel=0.6)


def test_one_seed_is_no_verdict() -> None:
    found = evidence.run(Cell(chains=4, seeds=1), 2, QUIET)
    assert found["verdict"] == 0
    assert not {"any lost", "row", "difference", "planned"} & found.keys()


def test_finished_cells_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evidence, "cells", lambda: iter([Cell(chains=3), Cell(chains=4)]))
    monkeypatch.setattr(evidence, "stopped", lambda: "stopped")
    monkeypatch.setattr("sys.argv", ["evidence.py", "--quick", "--out", str(tmp_path)])
    evidence.main()
    path, first = tmp_path / "quick.jsonl", capsys.readouterr().out
    lines = path.read_text().splitlines()
    assert [json.loads(line)["cell"] for line in lines] == [
        Cell(chains=3).name, Cell(chains=4).name,
    ]  # fmt: skip

    def never(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(evidence, "run", never)
    evidence.main()
    assert capsys.readouterr().out == first
    assert path.read_text().splitlines() == lines


def test_every_cell_has_its_own_name() -> None:
    names = [cell.name for cell in evidence.cells()]
    assert len(set(names)) == len(names) > 30
