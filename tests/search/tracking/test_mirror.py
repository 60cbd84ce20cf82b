"""The MLflow mirror, against SQLite and against a real server on loopback."""

import logging
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from search.report import duplicates
from search.tracking import Tracker
from trainables.errors import UserError

CHILDREN = 17  # 15 chains and two baselines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current directory of a search; its database is made once, that takes seconds."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def database(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    log = (folder / "log").open("w")
    quiet = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=quiet)
    try:
        _wait(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


def _mirror(
    uri: str | None, search: Any, written: tuple[Path, dict[str, Any]], experiment: str = "isic3"
) -> Tracker:
    out, summary = written
    (out / "report" / duplicates.FILE).write_text("image_a,image_b\nANNA.jpg,OTTO.jpg\n")
    tracker = Tracker(uri, experiment, out)
    tracker.connect()
    tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    assert not tracker.lost
    return tracker


def _runs(uri: str, experiment: str = "isic3") -> tuple[Any, list[Any]]:
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    return parents[0], [run for run in runs if run is not parents[0]]


def _check(uri: str) -> None:
    parent, children = _runs(uri)
    client = MlflowClient(uri, uri)
    assert len(children) == CHILDREN
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.metrics["best_score"] == 75.44
    winner = next(run for run in children if run.info.run_name == "odc>moco")
    assert winner.data.metrics["delta"] == pytest.approx(11.92)
    assert winner.data.params["label"] == "C"
    assert winner.data.params["lr_2"] == "0.1*"
    curve = client.get_metric_history(winner.info.run_id, "finetune_balanced_accuracy")
    assert [point.step for point in curve] == list(range(1, 13))
    assert len(client.get_metric_history(winner.info.run_id, "stage_2_moco_loss")) == 12
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/index.html", "report/chains.csv", "report/tree.png"} <= artifacts
    assert "report/near_duplicates.csv" not in artifacts  # names of images and patients
    assert client.get_model_version_by_alias("isic3-backbone", "best").tags["chain"] == "odc>moco"


def test_sqlite_by_default_in_this_directory(
    search: Any, written: Any, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    tracker = _mirror(None, search, written)
    assert tracker.command == "mlflow ui"
    uri = database
    _check(uri)
    assert (folder / "mlruns").is_dir()
    before = sorted(run.info.run_id for run in _runs(uri)[1])
    _mirror(None, search, written)
    assert sorted(run.info.run_id for run in _runs(uri)[1]) == before
    assert len(MlflowClient(uri, uri).search_model_versions("name = 'isic3-backbone'")) == 1


def test_server(search: Any, written: Any, server: str, tmp_path: Path) -> None:
    _mirror(server, search.only("odc", "odc>moco", "moco", "scratch"), written)
    parent, children = _runs(server)
    assert {run.info.run_name for run in children} == {"odc", "odc>moco", "moco", "scratch"}
    client = MlflowClient(server, server)
    assert client.list_artifacts(parent.info.run_id, "report")
    version = client.get_model_version_by_alias("isic3-backbone", "best")
    source = client.get_model_version_download_uri(version.name, version.version)
    got = Path(download_artifacts(artifact_uri=source, dst_path=str(tmp_path), tracking_uri=server))
    own = written[0] / "best" / "backbone.safetensors"
    assert next(got.rglob("backbone.safetensors")).read_bytes() == own.read_bytes()


def test_failed_and_pruned_chains(search: Any, written: Any, database: str) -> None:
    small = search.only("moco", "odc", "moco>odc", "moco>relative_location", "imagenet")
    broken = small.without("failed", "loss is NaN at step 3", "moco>odc")
    broken = broken.without("pruned", "falls", "moco>relative_location")
    broken = broken.without("not run", "no weights", "imagenet")
    _mirror(database, broken, written, "broken")
    _, children = _runs(database, "broken")
    failed = next(run for run in children if run.info.run_name == "moco>odc")
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", "loss is NaN at step 3")
    assert {run.info.run_name for run in children} == {"moco", "odc", "moco>odc"}
    _mirror(database, small, written, "broken")
    mended = MlflowClient(database, database).get_run(failed.info.run_id)
    assert (mended.info.status, mended.data.metrics["balanced_accuracy"]) == ("FINISHED", 72.72)


def test_a_search_that_runs_has_one_child_a_chain(search: Any, written: Any, database: str) -> None:
    """Chains are logged as they are scored, some again, all at the end; each point once."""
    out, summary = written
    tracker = Tracker(database, "live", out)
    tracker.connect()
    tracker.start(search.plan, search.info)
    rows = [row for row in search.table.scored if row.length < 2]
    broken = search.without("failed", "its group died", "moco").table.row("moco")
    tracker.log_chain(broken, search.store)
    for logged in (rows[:2], rows, [replace(rows[0], linear=12.0)]):
        for row in logged:
            tracker.log_chain(row, search.store)
    _, children = _runs(database, "live")
    assert sorted(run.info.run_name for run in children) == sorted(row.chain for row in rows)
    tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    _, children = _runs(database, "live")
    assert len(children) == CHILDREN
    client = MlflowClient(database, database)
    first = next(run for run in children if run.info.run_name == rows[0].chain)
    for metric, points in (("balanced_accuracy", 1), ("finetune_balanced_accuracy", 12)):
        assert len(client.get_metric_history(first.info.run_id, metric)) == points


def test_unreachable_server_is_bad_input_soon() -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=re.escape("http://127.0.0.1:9: no answer")):
        Tracker("http://127.0.0.1:9", "isic3", Path("out")).connect()
    assert time.monotonic() - began < 5


def test_silent_server_is_bad_input_soon() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(UserError, match="no answer within 4 s"):
            Tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", "x", Path("out")).connect()
    assert time.monotonic() - began < 6


def test_missing_folder_is_bad_input() -> None:
    with pytest.raises(UserError, match="there is no folder /no/such"):
        Tracker("sqlite:////no/such/mlflow.db", "isic3", Path("out")).connect()


@pytest.mark.parametrize("uri", ["nonsense://x", "./mlruns"])
def test_unusable_uri_is_bad_input_before_mlflow_is_asked(uri: str) -> None:
    with pytest.raises(UserError, match=f"tracking-uri {uri}: came .* scheme; allowed sqlite,"):
        Tracker(uri, "isic3", Path("out"))


def test_what_mlflow_cannot_open_is_bad_input() -> None:
    with pytest.raises(UserError, match="tracking-uri postgresql://"):
        Tracker("postgresql://nobody@127.0.0.1:9/none", "isic3", Path("out")).connect()


def test_lost_tracker_warns_once_and_goes_on(
    search: Any, written: Any, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    out, summary = written
    tracker = Tracker(database, "other", out)
    tracker.connect()

    class Gone:
        def __getattr__(self, name: str) -> Any:
            raise ConnectionError("the server went away")

    tracker._client = Gone()  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    assert tracker.lost
    assert [record.getMessage() for record in caplog.records] == [
        f"tracking at {tracker.uri} stopped: the server went away; no result is lost"
    ]
