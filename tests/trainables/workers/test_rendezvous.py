"""Where the ranks of a worker group meet: not at all, in a private file, or over the network."""

import stat
from pathlib import Path

import pytest
import ray
import torch.distributed as dist

from trainables.workers import rendezvous
from trainables.workers.rendezvous import Rendezvous


class Group:
    """Runs what Ray would run on each worker here, and answers for its node."""

    def __init__(self, nodes):
        self.nodes = nodes

    def __len__(self):
        return len(self.nodes)

    def execute(self, function):
        assert function is rendezvous._node
        return self.nodes

    def execute_single(self, rank, function, **arguments):
        assert rank == 0
        return function(**arguments)

    def execute_single_async(self, rank, function, *arguments):
        function(*arguments)
        return rank

    def get_resources_per_worker(self):
        return {"CPU": 1}


@pytest.fixture
def over_network(monkeypatch):
    """Groups that met as torch and Ray would have it."""
    met = []
    parent = rendezvous._Backend.__base__
    monkeypatch.setattr(parent, "on_start", lambda self, group, config: met.append(group))
    return met


@pytest.fixture
def meetings(monkeypatch):
    met = []
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **how: met.append(how))
    monkeypatch.setattr(ray, "get", lambda answers: answers)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "")
    return met


def start(group, folder):
    rendezvous._Backend().on_start(group, Rendezvous(folder=str(folder)))


def test_one_rank_meets_nobody(over_network, meetings, tmp_path):
    start(Group(["a"]), tmp_path)
    assert (over_network, meetings, list(tmp_path.iterdir())) == ([], [], [])


def test_ranks_on_one_node_meet_in_a_file_for_this_user_alone(over_network, meetings, tmp_path):
    start(Group(["a", "a"]), tmp_path)
    start(Group(["a", "a"]), tmp_path)  # the group again, after it lost a worker
    assert [(how["rank"], how["world_size"]) for how in meetings] == [(0, 2), (1, 2)] * 2
    assert all(isinstance(how["store"], dist.FileStore) for how in meetings)
    files = {Path(how["store"].path) for how in meetings}
    assert len(files) == 2
    assert {stat.S_IMODE(file.parent.stat().st_mode) for file in files} == {0o700}
    assert over_network == []


def test_ranks_on_several_nodes_meet_over_the_network(over_network, meetings, tmp_path):
    group = Group(["a", "b", "b"])
    start(group, tmp_path)
    assert (over_network, meetings) == ([group], [])
