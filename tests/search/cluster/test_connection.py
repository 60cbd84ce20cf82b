"""Which Ray a search joins, with which token, and what it says where it can't."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from search.cluster import environment
from search.cluster.connection import Cluster
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
RUN = [sys.executable, str(ROOT / "search" / "run.py"), "--space", "isic3", "profile=smoke"]


@pytest.fixture
def shell(monkeypatch):
    """The environment of a user who has set nothing of Ray's; put back afterwards."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    monkeypatch.setattr(os, "environ", clean)
    return clean


def test_a_search_by_itself_is_closed_whatever_the_shell_says(shell):
    shell |= {"RAY_ADDRESS": "10.0.0.2:6379", "RAY_AUTH_MODE": "disabled"}
    shell |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}
    environment.prepare(None)
    assert "RAY_ADDRESS" not in shell
    assert shell["RAY_AUTH_MODE"] == "token"
    assert shell["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert shell["RAY_USAGE_STATS_ENABLED"] == "0"


def test_every_search_has_a_token_of_its_own(shell):
    environment.prepare(None)
    one = shell.pop("RAY_AUTH_TOKEN")
    environment.prepare(None)
    assert len(one) == len(shell["RAY_AUTH_TOKEN"]) == 64
    assert one != shell["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_user_is_kept(shell, name):
    shell[name] = "theirs"
    environment.prepare(None)
    assert {k: v for k, v in shell.items() if "TOKEN" in k} == {name: "theirs"}


def test_a_cluster_is_asked_with_a_token_unless_the_user_says_that_it_has_none(shell):
    environment.prepare("auto")
    assert shell["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in shell
    shell["RAY_AUTH_MODE"] = "disabled"
    environment.prepare("auto")
    assert shell["RAY_AUTH_MODE"] == "disabled"


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "no.such.host.invalid:6379", "ray://127.0.0.1:10001", "head", ""]
)
def test_an_address_where_no_ray_is_gets_one_line(address):
    with pytest.raises(UserError) as said:
        Cluster(address).connect()
    where = f"--address={address}: must be HOST:PORT"
    assert str(said.value).startswith(f"{where} of a running head, or `auto` (")
    assert "\n" not in str(said.value)


def test_auto_follows_the_shells_address(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match="--address=auto: must be HOST:PORT of a running head"):
        Cluster("auto").connect()


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head with a token, as cluster.yaml starts one, but without slots for trials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = tmp_path_factory.mktemp("home") / "auth_token"
    token.write_text(secrets.token_hex(32))
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    process = subprocess.Popen(
        [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--num-cpus=1",
         f"--port={port}", "--include-dashboard=false", "--disable-usage-stats",
         f"--temp-dir=/tmp/ray-{port}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean | known,
    )  # fmt: skip
    try:
        assert any("--block" in line for line in process.stdout), "the head did not come up"
        yield f"127.0.0.1:{port}", clean | {"HOME": str(token.parent)}, known
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.communicate(timeout=30)
        shutil.rmtree(f"/tmp/ray-{port}", ignore_errors=True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "must have its token on this machine; try copying the head's ~/.ray/auth_token"),
        ({"RAY_AUTH_TOKEN": "f" * 64}, "must have its token on this machine; try copying"),
        ({"RAY_AUTH_MODE": "disabled"}, "must have its token on this machine; try copying"),
        ("the head's", "its head must have the resource `driver_slot`, which trials use; try"),
    ],
    ids=["no token", "a wrong token", "authentication off", "the head's token, but no slots"],
)
def test_a_head_is_joined_with_its_token_alone(head, tmp_path, given, said):
    address, clean, known = head
    done = subprocess.run(
        [*RUN, "--address", address], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env=clean | (known if given == "the head's" else given),
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"error: --address={address}: {said}")
    assert done.stderr.count("\n") == 1


def test_the_clusters_nodes_get_the_token_and_ask_for_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("x" * 64)
    cluster = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    validate_config(cluster)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    (head,) = [c for c in cluster["head_start_ray_commands"] if "ray start" in c]
    (worker,) = [c for c in cluster["worker_start_ray_commands"] if "ray start" in c]
    assert "RAY_AUTH_MODE=token" in head
    assert "RAY_AUTH_MODE=token" in worker
    assert "--disable-usage-stats" in head
