"""One real MLflow server with a login for all tests here, and the made-up search of the report."""

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from search.tracking import outbox
from tests.search.report.conftest import judged, make_search, repeated, written  # noqa: F401

PASSWORD = "a%20b%40secret1234"  # as in an address: "a b@secret1234"
AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:///{folder}/auth.db
admin_username = admin
admin_password = a b@secret1234
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Server:
    """port; folder: everything that the server was given."""

    port: int
    folder: Path

    @property
    def uri(self) -> str:
        return f"http://admin:{PASSWORD}@127.0.0.1:{self.port}"

    @property
    def bare(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri, self.uri)

    def holds(self, words: bytes) -> bool:
        """Return whether these bytes are anywhere in the tracker's data."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        assert files
        return any(words in path.read_bytes() for path in files)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, beside = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("beside")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (beside / "auth.ini").write_text(AUTH.format(folder=beside).replace("%", "%%"))
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", str(folder / "artifacts"), "--app-name", "basic-auth",
    ]  # fmt: skip
    quiet = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(beside / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (beside / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=quiet)
        try:
            _wait(port, process)
            yield Server(port, folder)
        finally:
            process.terminate()
            process.wait(20)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(1200):
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server did not come up")


@pytest.fixture(autouse=True)
def _no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URI", "USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a fiftieth of a second."""
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.02)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """Return the tracker's log messages."""
    with caplog.at_level(logging.WARNING, logger="search.tracking"):
        lines: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("search.tracking").addHandler(handler)
        yield lines
        logging.getLogger("search.tracking").removeHandler(handler)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current directory of a search; its database is made once, that takes seconds."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="session")
def database(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="session")
def search(judged: Any) -> Any:  # noqa: F811
    """The search whose report is `written`."""
    return judged
