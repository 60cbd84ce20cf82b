"""The command as a user runs it: real Ray, real processes, real kills, on drawn images."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from search.space import load

ROOT = Path(__file__).resolve().parent.parent
RUN = [sys.executable, str(ROOT / "search" / "run.py"), "--space", "isic3"]
LONG = pytest.mark.long
TWO = ["~tasks.relative_location", "max_length=2"]  # of four chains
SMALL = [
    "profile=smoke", "data.params.n=320", "profile.batch=16", "profile.downstream_batch=16",
    "profile.label_fraction=0.5", "profile.steps=6", "downstream.lr_range=[0.01]",
    "downstream.lr_range_later=null",
]  # fmt: skip


def start(folder, *more, run=RUN):
    return subprocess.Popen(
        [*run, *SMALL, *more], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def search(folder, *more, run=RUN):
    """The summary of a search that ended well."""
    process = start(folder, "--json", *more, run=run)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return json.loads(out.splitlines()[-1])


def table(folder, out):
    rows = csv.DictReader((folder / out / "report" / "chains.csv").open())
    return {row["chain"]: row["balanced_accuracy"] for row in rows}


def finished(folder):
    return {path.parent.name for path in (folder / "runs/store").glob("*/manifest.json")}


@pytest.fixture(scope="module")
def exhaustive(tmp_path_factory):
    """A whole exhaustive search over two tasks, killed once on the way."""
    folder = tmp_path_factory.mktemp("search")
    whole = ["policy=exhaustive", *TWO, "--out", "one"]
    process = start(folder, *whole, "runtime.checkpoint_seconds=0")
    deadline = time.monotonic() + 300
    while len(finished(folder)) < 4 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(5)  # Ray's own processes follow their driver
    before = finished(folder)
    return folder, before, search(folder, *whole)


@pytest.mark.slow
def test_a_killed_search_trains_only_what_was_not_finished(exhaustive):
    folder, before, summary = exhaustive
    stages = {key for key in before if not key.startswith(("classify", "probe"))}
    assert stages
    fresh = summary["best_chain"].count(">") + 1  # stages of the one fresh seed
    assert summary["stages_trained"] == 4 + fresh - len(stages)
    assert summary["stages_trained"] + summary["stages_reused"] == 4 + fresh
    assert (summary["stages_naive"], summary["stages_repeats"]) == (6, fresh)
    # a probe and a score each, and of scratch; both are scored on a fresh seed, too
    assert len(finished(folder)) == 4 + 2 * (4 + 1) + fresh + 2 * 2


@pytest.mark.slow
def test_every_chain_is_in_the_table_and_imagenet_has_no_number(exhaustive):
    folder, _, summary = exhaustive
    rows = table(folder, "one")
    assert len(rows) == 6
    assert rows["imagenet"] == ""
    assert all(rows[chain] for chain in rows if chain != "imagenet")
    best = max((float(v), k) for k, v in rows.items() if v and k != "scratch")
    assert summary["best_chain"] == best[1]
    assert summary["demo"] is True


@pytest.mark.slow
def test_the_tracker_has_one_run_a_chain_though_the_search_was_killed(exhaustive):
    client = MlflowClient(f"sqlite:///{exhaustive[0]}/mlflow.db")
    experiment = client.get_experiment_by_name("isic3")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    tags = [run.data.tags for run in runs if "mlflow.parentRunId" in run.data.tags]
    children = Counter((tag["mlflow.parentRunId"], tag["mlflow.runName"]) for tag in tags)
    assert len(children) >= 5
    assert max(children.values()) == 1


@pytest.mark.slow
def test_again_trains_nothing_and_gives_the_same_table(exhaustive):
    folder, _, summary = exhaustive
    before = table(folder, "one")
    again = search(folder, "policy=exhaustive", *TWO, "--out", "one")
    assert again["stages_trained"] == 0
    assert again["stages_reused"] == summary["stages_trained"] + summary["stages_reused"]
    assert table(folder, "one") == before
    assert again["best_chain"] == summary["best_chain"]


@pytest.mark.slow
def test_another_search_reuses_the_store(exhaustive):
    folder, _, _ = exhaustive
    summary = search(folder, "--out", "two", "--policy", "curriculum", *TWO)
    assert summary["stages_trained"] <= summary["stages_repeats"]  # another winner's fresh seed
    one = table(folder, "one")
    assert all(one[chain] == value for chain, value in table(folder, "two").items() if value)


@pytest.mark.slow
def test_tunes_files_of_every_trial_are_there_to_read(exhaustive):
    """A kill may cost the files of chains that were just scored, two at most."""
    folder, _, _ = exhaustive
    known = {row["chain"]: row for row in csv.DictReader((folder / "one/report/chains.csv").open())}
    ends, kept = {}, list((folder / "one" / "tune").rglob("*.*"))
    assert {path.name for path in kept} == {"params.json", "result.json", "progress.csv"}
    for path in (folder / "one" / "tune").glob("*/result.json"):
        end = json.loads(path.read_text().splitlines()[-1])
        chain = ">".join(end["config"]["tasks"]) or end["config"]["start"]
        assert end["config"] == json.loads(path.with_name("params.json").read_text())
        assert csv.DictReader(path.with_name("progress.csv").open()).fieldnames[0] == "merit"
        kind = "fresh_score" if end["config"]["repeat"] else "balanced_accuracy"
        assert f"{end['measures/balanced_accuracy']:.2f}" == known[chain][kind]
        assert {task for task in chain.split(">") if f"lr/{task}" in end} == set(
            end["config"]["tasks"]
        )
        assert end["seconds"] > 0
        if not end["config"]["repeat"]:
            ends[chain] = end["config"]
    assert len(ends) >= 3
    ranges = load("isic3").ranges
    assert ends["odc>moco"] == {
        "start": "scratch", "tasks": ["odc", "moco"], "repeat": 0,
        "lr": {"odc": [*ranges["odc"].first], "moco": [*ranges["moco"].later]},
    }  # fmt: skip
    assert not (folder / "one" / "ray").exists()


@pytest.mark.long
@pytest.mark.parametrize("policy", ["tune:optuna", "tune:hyperopt"])
def test_a_searcher_proposes_within_its_budget(exhaustive, policy):
    folder, _, _ = exhaustive
    limits = ["--policy", policy, "--budget", "3", "policy.params.windows=[full]", *TWO]
    summary = search(folder, "--out", policy, *limits)
    assert summary["stages_trained"] <= summary["stages_repeats"]  # its winner's fresh seed
    assert summary["policy"] == policy
    scored = {chain for chain, value in table(folder, policy).items() if value}
    assert len(scored - {"scratch"}) == 3


@pytest.mark.long
def test_contenders_are_repeated_and_prefixes_shared_within_a_seed(exhaustive):
    folder, _, _ = exhaustive
    before = finished(folder)
    summary = search(folder, "--out", "four", "--policy", "curriculum", "repeats=2", *TWO)
    rows = csv.DictReader((folder / "four" / "report" / "chains.csv").open())
    seeds = {row["chain"]: len(row["seed_scores"].split()) for row in rows}
    twice = [chain for chain, count in seeds.items() if count == 2 and chain != "scratch"]
    winner = summary["best_chain"]
    tried = sum(1 for count in seeds.values() if count) - 1
    assert seeds["scratch"] == seeds[summary["best_chain"]] == 2
    assert len(twice) >= (tried + 1) // 2
    prefixes = {tuple(c.split(">")[:n]) for c in twice for n in range(1, c.count(">") + 2)}
    new = finished(folder) - before
    assert summary["stages_repeats"] == len(prefixes) + 2 * (winner.count(">") + 1)
    assert summary["stages_trained"] <= summary["stages_repeats"]  # a fresh seed may be there
    assert summary["stages_trained"] == sum(not k.startswith(("classify", "probe")) for k in new)
    assert summary["training_noise"] >= 0  # 0: the choice of images explains all


HOPELESS = f"""
import sys
sys.path[0] = {str(ROOT)!r}
from search.run import main
from search.scheduling import early_stopping, scheduler
def judge(best, epoch, epochs, curves, leader, *more):
    return early_stopping.judge(best, epoch, epochs, curves, ("moco", 1e6), *more)
scheduler.judge = judge
scheduler.training_noise = lambda scores: early_stopping.Noise(1.0, 9)
sys.exit(main())
"""


@pytest.mark.slow
def test_a_chain_that_cannot_win_is_stopped_and_its_children_are_not(tmp_path):
    """Any longer chain is hopeless, once three curves are known."""
    lever = ["profile.downstream_steps=36", "runtime.groups=1", "runtime.threads=1"]
    lever += TWO
    run = [sys.executable, "-c", HOPELESS, "--space", "isic3"]
    summary = search(tmp_path, "policy=exhaustive", "--out", "one", *lever, run=run)
    rows = csv.DictReader((tmp_path / "one" / "report" / "chains.csv").open())
    stopped = {row["chain"]: row["reason"] for row in rows if row["status"] == "stopped"}
    assert stopped
    assert all(">" in chain and "after evaluation" in reason for chain, reason in stopped.items())
    assert {one["chain"] for one in summary["stopped"]} == set(stopped)
    assert summary["best_chain"] not in stopped
    fresh = summary["best_chain"].count(">") + 1  # stages of its fresh seed; scratch has one, too
    assert summary["stages_trained"] == 4 + fresh  # the stages of a stopped chain are finished
    scores = {key for key in finished(tmp_path) if key.startswith("classify")}
    assert len(scores) == 1 + 4 - len(stopped) + 2


def test_a_spent_budget_of_time_ends_the_search_with_a_report(tmp_path):
    summary = search(tmp_path, "--out", "one", "--budget", "1s", "--policy", "exhaustive")
    assert summary["budget_spent"]
    assert summary["stages_trained"] < 15
    rows = list(csv.DictReader((tmp_path / "one" / "report" / "chains.csv").open()))
    assert "the budget of 1 s is spent" in {row["reason"] for row in rows}


@pytest.mark.slow
def test_the_best_backbone_loads(exhaustive):
    folder, _, _ = exhaustive
    snippet = folder / "one" / "best" / "load.py"
    done = subprocess.run([sys.executable, snippet], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("until", "number", "status"),
    [
        pytest.param("worker groups of", signal.SIGINT, 130, marks=LONG),
        (r": training .*img/s", signal.SIGTERM, 143),
    ],
)
def test_a_signal_ends_it_soon_and_it_says_how_to_go_on(tmp_path, until, number, status):
    rarely = ["profile.steps=2400", "runtime.checkpoint_seconds=1000", *TWO[:1], "~tasks.odc"]
    rarely += ["tasks.moco.lr_range=[0.03]", "max_length=1", "--out", "with space"]
    process = start(tmp_path, *rarely)
    assert any(re.search(until, line) for line in process.stdout)
    asked = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert time.monotonic() - asked < 20
    assert "run again" in err
    assert "search/run.py --space isic3 profile=smoke" in err
    assert err.rstrip().endswith("--out 'with space'")
    left = list((tmp_path / "runs" / "store").glob("*.part/checkpoint.safetensors"))
    assert left or "training" not in until, "what was in work is lost"
    assert "Traceback" not in err
    assert "*** SIGTERM" not in err, "the trace of a library's handler"
    if "training" in until:
        client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
        runs = client.search_runs([client.get_experiment_by_name("isic3").experiment_id])
        status = {"mlflow.parentRunId" in run.data.tags: run.info.status for run in runs}
        assert status[False] == "KILLED"
        assert status.get(True) in (None, "FINISHED")  # chains that were scored before


@pytest.mark.long
def test_two_workers_give_the_stage_that_one_gives(tmp_path):
    def trained(workers):
        (where := tmp_path / f"{workers}").mkdir()
        summary = search(where, f"runtime.workers={workers}", "max_length=1", "--budget", "1")
        assert summary["stages_trained"] == 1
        (found,) = where.glob(f"runs/store/{summary['best_chain']}-*/manifest.json")
        return json.loads(found.read_text())["result"]

    two, one = trained(2), trained(1)
    assert (two["workers"], one["workers"]) == (2, 1)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-2)
    assert two["lr"] == one["lr"]


def test_a_cluster_that_is_not_there_gets_one_line_and_status_2(tmp_path):
    command = [*RUN, "profile=smoke", "--address", "127.0.0.1:9"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "127.0.0.1:9" in errors[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_damaged_image_ends_the_search_while_its_groups_come_up(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2, 200, 24, 24, 3), np.uint8)
    for kind, rows in zip("ab", pixels, strict=True):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i, image in enumerate(rows):
            Image.fromarray(image).save(tmp_path / "images" / kind / f"{i}.png")
    damaged = tmp_path / "images" / "b" / "7.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    command = [*RUN, "--data", "images", "data=folder", "profile=smoke", "profile.batch=16"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 2, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith(f"error: {damaged}: ")
    assert "Traceback" not in done.stderr
    assert "restarting it" not in done.stderr
    assert not (tmp_path / "runs" / "isic3-images" / "ray").exists()
