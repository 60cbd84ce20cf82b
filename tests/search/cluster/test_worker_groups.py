"""The division of a cluster among worker groups, and the start of each."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.cluster import worker_groups
from search.cluster.group_shape import GroupShape
from search.cluster.worker_groups import WorkerGroups
from search.results.status import Status
from search.space import load
from trainables.errors import UserError


def shape(nodes, wanted=8, per_gpu=1, **runtime):
    overrides = [f"runtime.{key}={value}" for key, value in runtime.items()]
    return GroupShape.of(load("isic3", ["profile=gpu", *overrides]).runtime, nodes, wanted, per_gpu)


def total(nodes):
    return {key: sum(n.get(key, 0) for n in nodes) for key in ("CPU", "GPU")}


LAPTOP = [{"CPU": 2.0}]
BOX = [{"CPU": 64.0, "GPU": 4.0}]
CLOUD = [{"CPU": 4.0}, {"CPU": 48.0, "GPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "runtime", "groups", "threads"),
    [
        (LAPTOP, {}, 2, 1),
        (LAPTOP, {"workers": 2}, 1, 1),
        (LAPTOP, {"groups": 1}, 1, 2),
        (LAPTOP, {"workers": 4}, 0, 1),
        ([{"CPU": 64.0}], {}, 8, 8),
        (BOX, {}, 4, 16),
        (BOX, {"workers": 4}, 1, 16),
        (CLOUD, {}, 5, 12),
        (CLOUD, {"threads": 4}, 5, 4),
        (BOX, {"per_gpu": 2}, 8, 8),
        (BOX, {"per_gpu": 2, "groups": 5}, 5, 8),
        (LAPTOP, {"per_gpu": 2}, 2, 1),
    ],
)
def test_every_worker_fits_on_its_node(nodes, runtime, groups, threads):
    made = shape(nodes, **runtime)
    assert made.fit(total(nodes)) == groups
    assert made.threads == threads


def test_a_cluster_that_grows_holds_more_groups():
    made = shape(BOX)
    assert made.fit(total(BOX)) == 4
    assert made.fit(total([*BOX, *BOX])) == 8
    assert made.fit(total([*BOX, *BOX, *BOX])) == 8


COMING_UP = """
import json, sys, time
from search.cluster import environment

environment.prepare(None)  # before Ray is imported
import ray
from search.cluster import worker_groups
from search.cluster.broker import Broker
from search.chains.plan import Plan
from search.cluster.group_shape import GroupShape
from search.cluster.worker_groups import WorkerGroups
from search.console.exit import leave
from search.space import load

ray.init("local", num_cpus=5, include_dashboard=False, log_to_driver=False)
plan = Plan(load("isic3", ["data=demo", "profile=smoke", f"store={sys.argv[1]}"]), "digest")
broker = ray.remote(Broker).options(max_concurrency=100, num_cpus=0).remote(plan)
begun = []


class Watched(WorkerGroups):
    def _keep(self, group):  # comes up when the test says so
        begun.append(group)


def soon(count):
    while len(begun) < count:
        time.sleep(0.01)
    time.sleep(0.3)
    return list(begun)


groups = Watched(GroupShape(limit=4, workers=1, threads=1, per_gpu=0), broker, {}, None)
groups.start()
seen = [soon(2)]
broker.lease.remote("group-1")
seen.append(soon(3))
broker.lease.remote("group-0")
seen.append(soon(4))
print(json.dumps(seen), flush=True)
leave(0)  # its thread still waits for a group
"""


def test_nodes_without_cpus_have_no_part_and_nothing_fits_without_others():
    head = {"GPU": 1.0}
    assert shape([head, {"CPU": 8.0}]).threads == 1
    with pytest.raises(UserError, match="--address: must have CPUs"):
        shape([head, {}])


@pytest.mark.slow
def test_no_more_groups_come_up_at_a_time_than_there_are_cores_for(tmp_path):
    """Five cores: two at a time, the next when one of them has asked for work."""
    root = Path(__file__).resolve().parents[3]
    run = subprocess.run(
        [sys.executable, "-c", COMING_UP, str(tmp_path)],
        capture_output=True, text=True, cwd=root, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    names = [f"group-{i}" for i in range(4)]
    assert json.loads(run.stdout.splitlines()[-1]) == [names[:2], names[:3], names]


@pytest.fixture
def groups(monkeypatch):
    """One worker group of 2 CPUs, at a clock and a cluster that a test sets."""
    cluster = SimpleNamespace(now=0.0, free={"CPU": 2.0}, nodes=[])
    monkeypatch.setattr(worker_groups.time, "monotonic", lambda: cluster.now)
    monkeypatch.setattr(worker_groups.ray, "available_resources", lambda: cluster.free)
    monkeypatch.setattr(worker_groups.ray, "nodes", lambda: cluster.nodes)
    made = WorkerGroups(GroupShape(limit=1, workers=1, threads=2, per_gpu=0), None, {}, None)
    made.begun["group-0"] = 0.0
    return made, cluster


def test_a_group_that_does_not_come_up_is_said_with_what_it_waits_for(groups):
    made, cluster = groups
    cluster.now, cluster.free = 119.0, {"CPU": 1.0}
    assert made.late(Status(elapsed=119.0)) == ()
    cluster.now = 121.0
    (said,) = made.late(Status(elapsed=121.0))
    assert said == ("group-0: silent for 120 s; a worker waits for 2 CPU, which no node has free")
    cluster.free = {"CPU": 4.0}
    (said,) = made.late(Status(elapsed=121.0))
    assert "is the program installed on every node" in said


def test_a_group_that_was_heard_of_is_late_only_when_it_falls_silent(groups):
    made, cluster = groups
    cluster.now = 500.0
    assert made.late(Status(elapsed=500.0, heard={"group-0": 450.0})) == ()
    assert made.late(Status(elapsed=571.0, heard={"group-0": 450.0})) != ()


def test_a_node_that_died_is_told_once(groups):
    made, cluster = groups
    cluster.nodes = [{"NodeID": "a", "Alive": True}, {"NodeID": "b", "Alive": True}]
    assert made.nodes_that_died() == frozenset()
    cluster.nodes[1]["Alive"] = False
    assert made.nodes_that_died() == {"b"}
    assert made.nodes_that_died() == frozenset()
