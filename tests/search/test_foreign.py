"""The graph is open: an installed package brings kinds of all sorts, and a search uses them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEARCH = [
    "--space", "isic3", "profile=smoke", "data.params.n=320", "~tasks.relative_location",
    "~tasks.odc", "+task@tasks.brightness=brightness", "downstream=spread",
    "+data.pool={kind: blend, params: {images: 48}}", "max_length=2", "policy=exhaustive",
    "profile.batch=16", "profile.steps=3", "runtime.groups=1", "runtime.threads=1",
]  # fmt: skip


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with the package on its path, as an installation puts it there."""
    package = Path(__file__).with_name("foreign")
    installed = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"}
    return subprocess.run(
        [sys.executable, str(ROOT / "search" / "run.py"), *arguments],
        cwd=folder, env=installed, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_what_it_brings_is_listed_explained_and_checked(tmp_path):
    listed = run(tmp_path, "list").stdout
    assert "brightness          Is this image brighter than most?" in listed
    assert "spread              How far features spread." in listed
    explained = run(tmp_path, "show", "data=demo", *SEARCH)
    assert explained.returncode == 0, explained.stderr
    assert "spaces/downstream/spread.yaml" in explained.stdout
    wrong = run(tmp_path, *SEARCH, "data.val=0.001", "--dry-run")
    assert wrong.returncode == 2
    wrong = run(tmp_path, *SEARCH[:-1], "+data.pool.params.imagse=1", "--dry-run")
    assert wrong.returncode == 2
    assert "data.pool.params.imagse" in wrong.stderr


@pytest.mark.slow
def test_a_search_trains_and_scores_with_what_another_package_brings(tmp_path):
    done = run(tmp_path, *SEARCH, "--out", "out", "store=store")
    assert done.returncode == 0, done.stdout + done.stderr
    manifests = [json.loads(p.read_text()) for p in (tmp_path / "store").glob("*/manifest.json")]
    kinds = sorted(m["spec"]["kind"] for m in manifests)
    summary = json.loads((tmp_path / "out/report/summary.json").read_text())
    chains = ("moco", "brightness", "moco>brightness", "brightness>moco")
    fresh = summary["best_chain"].count(">") + 1  # stages of its fresh seed; scratch has one, too
    expected = ["blend", *["pretext"] * (4 + fresh), *["probe"] * (5 + 2), *["spread"] * (5 + 2)]
    assert kinds == expected
    (blend,) = [m["key"] for m in manifests if m["spec"]["kind"] == "blend"]
    pretext = [m["spec"] for m in manifests if m["spec"]["kind"] == "pretext"]
    assert all(spec["inputs"]["pool"] == blend and not spec["data"] for spec in pretext)
    assert {m["result"]["steps"] for m in manifests if m["spec"]["kind"] == "pretext"} == {3}
    header, *rows = (tmp_path / "out/report/chains.csv").read_text().splitlines()
    assert header.startswith("chain,length,label,spread,")
    assert {row.partition(",")[0] for row in rows} == {*chains, "scratch", "imagenet"}
    assert (summary["stages_trained"], summary["best_chain"] in chains) == (4 + fresh, True)
    assert "spread of the features" in (tmp_path / "out/report/index.html").read_text()
