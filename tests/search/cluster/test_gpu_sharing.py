"""Sharing a GPU, measured by real processes on a device that Ray is told is a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from search.cluster.gpu_sharing import MIN_GAIN, SharedGPU

SCRIPT = """
import json, sys, tempfile, time
from pathlib import Path
from search.cluster import environment

environment.prepare(None)  # before Ray is imported
import ray
from search.cluster import gpu_sharing
from search.chains.chain import Chain
from search.chains.node import Node
from tests.trainables import small

with tempfile.TemporaryDirectory() as cache:
    data = small.prepared(Path(cache))
    stages = [small.plan(data).stages(Node(Chain((task,))))[0] for task in ("moco", "rotation")]
    images = stages[0].data["pool"].spec
    ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    gpu_sharing.ROUND_SECONDS = 1.0
    found = [gpu_sharing.groups_per_gpu(stages, images, None, cache, 2)]
    gpu_sharing.MEMORY_FRACTION = 0.0
    found.append(gpu_sharing.groups_per_gpu(stages, images, "no/such", "/dev/null/cache", 8))
    found.append(gpu_sharing.groups_per_gpu(stages, images, None, cache, 8))
    while ray.available_resources().get("GPU") != 1.0:
        time.sleep(0.2)
    ray.shutdown()
print(json.dumps([[f.groups, f.reason, f.rounds, str(f)] for f in found]))
"""


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def measured() -> list[SharedGPU]:
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=root, timeout=300
    )
    assert run.returncode == 0, run.stderr
    rows = json.loads(run.stdout.splitlines()[-1])
    assert all(row[3].startswith(f"{row[0]} worker groups a GPU: images/s ") for row in rows)
    return [SharedGPU(groups, reason, tuple(paces)) for groups, reason, paces, _ in rows]


def test_two_share_it_if_together_they_are_clearly_faster(measured: list[SharedGPU]) -> None:
    first, second = measured[0].rounds
    assert min(first, second) > 0
    faster = second >= MIN_GAIN * first
    assert measured[0].groups == (2 if faster else 1)
    expected = "there is no work for more" if faster else "more are not faster"
    assert measured[0].reason == expected


def test_no_more_than_memory_holds(measured: list[SharedGPU]) -> None:
    assert (measured[2].groups, measured[2].reason) == (1, "there is no memory for more")


def test_a_failed_measurement_costs_no_search(measured: list[SharedGPU]) -> None:
    assert measured[1].groups == 1
    assert measured[1].reason.startswith("measuring more failed (")
