"""A running search: its sockets, its token, strangers who try to join, its broker's death."""

import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray

ROOT = Path(__file__).resolve().parents[3]
SEARCH = [
    sys.executable, str(ROOT / "search" / "run.py"), "--space", "isic3", "profile=smoke",
    "data.params.n=320", "profile.batch=16", "profile.downstream_batch=16", "max_length=1",
    "profile.steps=24000", "runtime.workers=2", "budget=30m", "policy=exhaustive", "--out", "one",
]  # fmt: skip
STRANGER = """
import sys
import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(ray.get(ray.remote(num_cpus=0)(lambda: "ran code").remote()))
"""
IMPATIENT = {
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_gcs_rpc_server_connect_timeout_s": "1",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "2",
    "RAY_USAGE_STATS_ENABLED": "0",
}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # else Ray takes the host's address for it
WRONG = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A search with groups of two workers, which trains until the last test here is over."""
    folder = tmp_path_factory.mktemp("search")
    environ = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    process = subprocess.Popen(
        SEARCH, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environ | {"RAY_ADDRESS": "127.0.0.1:9", "RAY_AUTH_MODE": "disabled"},
    )  # fmt: skip
    try:
        family = _until_workers_meet(process)
        gcs = next(p for p in family if p.name() == "gcs_server")
        port = next(c.laddr.port for c in gcs.net_connections("tcp") if c.status == "LISTEN")
        token = gcs.environ()["RAY_AUTH_TOKEN"]
        yield SimpleNamespace(process=process, family=family, port=port, token=token, folder=folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def _until_workers_meet(process):
    """The processes of the search, once two of them have the sockets of a worker group."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        family = [psutil.Process(process.pid)]
        family += family[0].children(recursive=True)
        with suppress(psutil.NoSuchProcess):
            if len([at for name, at in _listening(family) if "RayTrainWorker" in name]) >= 2 + 2:
                return family
        time.sleep(0.5)
    process.kill()
    raise AssertionError(process.communicate())


def _listening(family):
    return [
        (process.name(), socket.laddr)
        for process in family
        for socket in process.net_connections("inet")
        if socket.laddr and not socket.raddr
    ]


@pytest.mark.slow
def test_every_socket_of_a_search_is_on_loopback(running):
    """Ray's own, torch's and gloo's; the list of exceptions is empty."""
    listening = _listening(running.family)
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert [(name, at) for name, at in listening if not _on_loopback(at.ip)] == []


def _on_loopback(ip):
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.mark.slow
def test_the_token_is_in_no_command_line_and_no_file_of_ray(running):
    assert len(running.token) == 64
    assert not [p for p in running.family if running.token in " ".join(p.cmdline())]
    raylet = next(p for p in running.family if p.name() == "raylet")
    sockets = next(arg for arg in raylet.cmdline() if arg.startswith("--raylet_socket_name="))
    private = Path(sockets.partition("=")[2]).parents[3]
    assert private.stat().st_mode & 0o777 == 0o700
    files = [f for place in (private, running.folder) for f in place.rglob("*") if f.is_file()]
    assert files
    assert not [f for f in files if running.token.encode() in f.read_bytes()]


@pytest.mark.slow
def test_usage_statistics_are_off(running):
    ray_itself = [p for p in running.family if p.name() in {"gcs_server", "raylet"}]
    assert [p.environ()["RAY_USAGE_STATS_ENABLED"] for p in ray_itself] == ["0", "0"]


@pytest.mark.slow
def test_strangers_are_refused(running, tmp_path):
    """Use the host's address even with the token, loopback without; the last is a control."""
    host = ray.util.get_node_ip_address()
    known = WRONG | {"RAY_AUTH_TOKEN": running.token}
    tries = [(host, known), ("127.0.0.1", LOOPBACK), ("127.0.0.1", LOOPBACK | WRONG)]
    tries += [("127.0.0.1", LOOPBACK | known)]
    strangers = [
        subprocess.Popen(
            [sys.executable, "-c", STRANGER, f"{ip}:{running.port}"],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=IMPATIENT | environ | {"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        for ip, environ in tries
    ]
    said = [stranger.communicate(timeout=120)[0] for stranger in strangers]
    assert ["ran code" in line for line in said] == [False, False, False, True]


@pytest.mark.slow
def test_when_the_broker_dies_the_search_is_incomplete_and_nothing_is_pruned(running):
    """The last test here: it ends the search."""
    (broker,) = (p for p in running.family if "ray::Broker" in " ".join(p.cmdline()))
    broker.kill()
    out, err = running.process.communicate(timeout=120)
    assert running.process.returncode == 1, out + err
    said, again = err.strip().splitlines()[-2:]
    assert said.startswith("error: the broker died"), err
    assert "search/run.py --space isic3" in again
    assert "Traceback" not in err
    report = running.folder / "one" / "report"
    summary = json.loads((report / "summary.json").read_text())
    assert summary["incomplete"].startswith("the broker died")
    assert (summary["pruned"], summary["failed"]) == ([], [])
    assert "INCOMPLETE" in (report / "index.html").read_text()
