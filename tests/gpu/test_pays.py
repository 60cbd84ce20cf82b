"""Chains, starts and their table, on a CPU, as a machine without Ray trains them."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from search.report.statistics.scored import Estimate
from tests.gpu.figure import Row, drawn
from tests.gpu.pays import EXTRA, Graph, Job, fitting, missing
from trainables.architectures import TRANSFORMER
from trainables.bench.recipes import Recipes

HERE = Path(__file__).parent
LACKING = """
import sys
for name in ("ray", "mlflow", "hydra", "omegaconf", "optuna"):
    sys.modules[name] = None
"""


def run(tmp_path, *arguments):
    (tmp_path / "sitecustomize.py").write_text(LACKING)
    known = {**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE.parents[1]}", "PYTHON": sys.executable}
    command = [HERE / "pays.sh", *arguments, "--out", tmp_path / "out"]
    return subprocess.run(command, env=known, cwd=tmp_path, capture_output=True, text=True)


class Spec(NamedTuple):
    name: str
    inputs: dict[str, str]

    def key(self):
        return self.name


def test_no_stage_is_trained_for_rows_that_are_finished(tmp_path):
    """Two chains of a shared first stage; the fine-tunings of the second one are kept."""
    row = ("moco>odc", 1000, 0.1)
    jobs = [
        Job(Spec("moco", {})), Job(Spec("odc", {"backbone": "moco"})),
        Job(Spec("tuned odc", {"backbone": "odc"}), row=row),
        Job(Spec("mim", {"backbone": "moco"})),
        Job(Spec("tuned mim", {"backbone": "mim"}), row=row),
    ]  # fmt: skip
    assert [*missing(jobs, tmp_path)] == ["moco", "odc", "tuned odc", "mim", "tuned mim"]

    def finish(name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "done.json").touch()

    finish("tuned mim")
    assert [*missing(jobs, tmp_path)] == ["moco", "odc", "tuned odc"]
    finish("odc")
    assert [*missing(jobs, tmp_path)] == ["tuned odc"], "its input is there"


def test_the_lengths_that_fit_use_the_time_and_keep_a_given_one():
    """Stages of 3 s a step in all and fine-tunings of 2 s, besides their evaluations."""
    steps, tuned = fitting(10_000, 3, 2, None)
    assert 9_990 < 3 * steps + 2 * (1 + EXTRA) * tuned <= 10_004
    assert tuned == pytest.approx(steps / 2, abs=1)
    steps, tuned = fitting(10_000, 3, 2, 2500)
    assert tuned == 2500
    assert 9_990 < 3 * steps + 2 * (1 + EXTRA) * tuned <= 10_000
    assert fitting(100, 3, 2, 2500) == (1, 2500)
    assert fitting(100, 0, 2, 2500) == (5000, 2500), "starts only: there are no stages"


def test_the_figure_shows_every_mean_interval_and_seed():
    """A panel for each fraction of the labels; a start is a line through it, too."""
    start, chain = Estimate(40, 35, 45), Estimate(43, 37, 50)
    rows = [Row("scratch", start, [39, 41], True), Row("moco", chain, [43], False)]
    figure = drawn({0.1: rows, 1: rows[:1]}, "balanced accuracy on test, %")
    few, every = figure.axes
    assert [label.get_text() for label in few.get_yticklabels()] == ["scratch", "moco"]
    assert [axes.get_title() for axes in (few, every)] == [
        "10 % of the labels", "100 % of the labels",
    ]  # fmt: skip
    places = [[*map(float, line.get_xdata())] for line in few.lines]
    assert places == [[35, 45], [39, 41], [40], [40, 40], [37, 50], [43], [43]]
    assert len(every.lines) == 4


def test_a_look_needs_the_table(tmp_path):
    done = run(tmp_path, "--look")
    assert done.returncode == 2
    assert "--look and --figure: must come with --table" in done.stderr


def test_trainings_of_several_lengths_are_no_table(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.jsonl").touch()
    for steps in (1000, 2000):
        (tmp_path / "out" / str(steps)).mkdir()
        done = {"spec": {"kind": "classify", "training": {"steps": steps}}}
        (tmp_path / "out" / str(steps) / "done.json").write_text(json.dumps(done))
    said = run(tmp_path, "--table")
    assert said.returncode == 2
    assert "must hold trainings of one length, and has those of 1,000 and 2,000" in said.stderr


def test_a_transformer_is_trained_as_in_a_search():
    args = Namespace(backbone="convnext_atto", size=64, batch=32, rates={}, starts={})
    recipes = Recipes("cpu", torch.device("cpu"))
    graph = Graph(args, recipes.data("isic2019"), SimpleNamespace(digest="d"), recipes)
    stage, tuned = graph.stage("moco", 10, 0).trained, graph.tuned(1, 10, 0).trained
    assert (stage.optimizer, stage.weight_decay, stage.lr.range) == ("adamw", 0.05, (3e-4,))
    assert (tuned.lr.range, tuned.layer_decay) == (TRANSFORMER.downstream_rates, 0.75)
    args.backbone = "resnet18"
    assert graph.stage("moco", 10, 0).trained.optimizer == "sgd"
    assert graph.tuned(1, 10, 0).trained.layer_decay == 1


@pytest.mark.long
def test_a_small_run_is_scored_and_goes_on_where_it_was_cut(tmp_path):
    done = run(tmp_path, "--small")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert [(row["chain"], row["seed"]) for row in rows] == [
        ("moco", 1000), ("scratch", 1000), ("moco", 1001), ("scratch", 1001),
    ]  # fmt: skip
    (tmp_path / "out" / rows[-1]["key"] / "done.json").unlink()
    again = run(tmp_path, "--small")
    assert again.returncode == 0, again.stdout + again.stderr
    lines = (tmp_path / "out/rows.jsonl").read_text().splitlines()
    assert len(lines) == 5, "what was finished is not trained again"
    assert json.loads(lines[-1])["validation"] == rows[-1]["validation"]
    *short, _, _, scratch, moco = run(
        tmp_path, "--table", "--figure", tmp_path / "rows.png"
    ).stdout.splitlines()
    assert short == [
        "too short to matter (under 2,000 steps): stages 4; raise --minutes or --steps",
        "too short to matter (under 2,000 steps): fine-tunings 4; raise --minutes or --tune-steps",
    ]
    assert scratch.startswith("| 100 % | scratch | 2 |")
    assert moco.startswith("| 100 % | moco | 2 |")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")
