"""A search on a cluster of three Ray nodes that loses one of them while it trains there."""

import csv
import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RUN = [
    sys.executable, str(ROOT / "search" / "run.py"), "--space", "isic3", "--policy", "exhaustive",
    "~tasks.relative_location", "max_length=2", "early_stop=null", "profile=smoke",
    "data.params.n=320", "profile.batch=16", "profile.downstream_batch=16",
    "profile.label_fraction=0.5", "profile.steps=96", "downstream.lr_range=[0.01]",
    "downstream.lr_range_later=null",
    "runtime.threads=1",
]  # fmt: skip
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={
    "num_cpus": 0, "resources": {"driver_slot": 32}, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]  # a worker group each
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(nodes[1], allow_graceful=False)
print("killed", flush=True)
sys.stdin.readline()
cluster.shutdown()  # else later ray.init() calls of this machine find its address
"""


def scores(out):
    rows = csv.DictReader((out / "report" / "chains.csv").open())
    return {row["chain"]: row["balanced_accuracy"] for row in rows}


@pytest.fixture
def cluster():
    env = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], text=True, env=env, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    address = process.stdout.readline().strip()
    yield process, address, env
    process.communicate("\n\n", timeout=60)


@pytest.mark.long
def test_a_search_goes_on_without_a_node_that_died(cluster, tmp_path):
    process, address, env = cluster
    search = subprocess.Popen(
        [*RUN, "--out", "two", "--address", address], cwd=tmp_path, env=env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    training = set()
    while len(training) < 2 and (line := search.stdout.readline()):
        training |= set(re.findall(r"\] (\S+): .* img/s", line))
    assert len(training) == 2, "both nodes train"
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "killed\n"
    out, err = search.communicate(timeout=400)
    assert search.returncode == 0, err
    assert "died; attempt 2 follows" in out
    summary = json.loads((tmp_path / "two" / "report" / "summary.json").read_text())
    assert (summary["failed"], summary["stages_trained"]) == ([], 4)
    alone = [*RUN, "--out", "one", f"store={tmp_path}/other"]
    subprocess.run(alone, cwd=tmp_path, check=True, capture_output=True, timeout=400)
    assert scores(tmp_path / "two") == scores(tmp_path / "one")
