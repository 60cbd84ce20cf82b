"""Sharing a GPU, measured by real processes on a device that Ray is told is a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from search.cluster.gpu_sharing import GAIN, Shared

SCRIPT = """
import json, sys, tempfile, time
from pathlib import Path
from search.cluster import environment

environment.prepare(None)  # before Ray is imported
import ray
from search.cluster import gpu_sharing as packing
from search.chains.node import Proposal
from tests.trainables import small

with tempfile.TemporaryDirectory() as cache:
    data = small.prepared(Path(cache))
    stages = [small.plan(data).stages(Proposal((task,)))[0] for task in ("moco", "rotation")]
    ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    packing.SECONDS = 1.0
    found = [packing.groups_per_gpu(stages, None, cache, 2)]
    packing.SPARE = 0.0
    found.append(packing.groups_per_gpu(stages, "no/such", "/dev/null/cache", 8))
    found.append(packing.groups_per_gpu(stages, None, cache, 8))
    while ray.available_resources().get("GPU") != 1.0:
        time.sleep(0.2)
    ray.shutdown()
print(json.dumps([[f.groups, f.reason, f.paces, str(f)] for f in found]))
"""


@pytest.fixture(scope="module")
def measured() -> list[Shared]:
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root, timeout=300
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout.splitlines()[-1])
    assert all(row[3].startswith(f"{row[0]} worker groups a GPU: images/s ") for row in rows)
    return [Shared(groups, reason, tuple(paces)) for groups, reason, paces, _ in rows]


def test_two_share_it_if_together_they_are_clearly_faster(measured: list[Shared]) -> None:
    first, second = measured[0].paces
    assert min(first, second) > 0
    faster = second >= GAIN * first
    assert measured[0].groups == (2 if faster else 1)
    expected = "there is no work for more" if faster else "more are not faster"
    assert measured[0].reason == expected


def test_no_more_than_memory_holds(measured: list[Shared]) -> None:
    assert (measured[2].groups, measured[2].reason) == (1, "there is no memory for more")


def test_a_failed_measurement_costs_no_search(measured: list[Shared]) -> None:
    assert measured[1].groups == 1
    assert measured[1].reason.startswith("measuring more failed (")
