"""An unusable tracker is refused in one line, without mlflow and with nothing created."""

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from search.tracking.tracker import Tracker
from trainables.errors import UserError

if TYPE_CHECKING:
    from tests.search.tracking.conftest import Server


def tracker(uri: str | None, experiment: str = "isic3") -> Tracker:
    return Tracker(uri, experiment, Path("out"), None)


def refusal(uri: str | None, experiment: str = "isic3") -> str:
    with pytest.raises(UserError) as refused:
        tracker(uri, experiment).check()
    said = str(refused.value)
    assert "\n" not in said
    return said


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[int, list[str | None]]]:
    """A server that says this to everything; its port, and the logins that it was sent."""
    logins: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            logins.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port, logins
        finally:
            server.shutdown()
            thread.join()


def test_nothing_answers() -> None:
    said = refusal("http://u:pw@127.0.0.1:9")
    assert said.startswith("--tracking-uri=http://u:***@127.0.0.1:9: must be a server that answers")
    assert "Connection refused" in said


def test_a_silent_server() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        said = refusal(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "no answer within 4 s" in said


def test_another_kind_of_server() -> None:
    with answering(200, b"<html>") as (port, _):
        assert "must be an MLflow server: it answered 200 OK" in refusal(f"http://127.0.0.1:{port}")


def test_the_variable_is_named_when_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://u:pw@h")
    assert refusal(None).startswith("MLFLOW_TRACKING_URI=nonsense://u:***@h: must be an address")


@pytest.mark.parametrize(
    "uri", ["nonsense://x", "./mlruns", "", "databricks", "http://h:99999", "http://h x", "file:/x"]
)
def test_no_address(uri: str) -> None:
    assert refusal(uri).startswith(f"--tracking-uri={uri}: must be an address")


@pytest.mark.parametrize("password", ["p@ss", "p/ss", "p#ss", "p?ss", "p ss"])
def test_a_password_that_is_not_encoded(password: str) -> None:
    """Half of it would be taken for the host, and printed."""
    said = refusal(f"postgresql://u:{password}@h/db")
    assert said.startswith("--tracking-uri=postgresql://***@h/db: must have its user and password")
    assert "ss@" not in said


@pytest.mark.parametrize(
    ("uri", "driver", "cure"),
    [
        ("postgresql://u:pw@h/db", "psycopg", "uv sync --extra postgres"),
        ("postgresql+psycopg2://u:pw@h/db", "psycopg2", "uv pip install psycopg2"),
        ("mysql://u:pw@h/db", "MySQLdb", "uv pip install pymysql"),
        ("mysql+pymysql://u:pw@h/db", "pymysql", "uv pip install pymysql"),
        ("mssql://u:pw@h/db", "pyodbc", "uv pip install pyodbc"),
    ],
)
def test_a_missing_driver(
    uri: str, driver: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)  # as if it were not installed
    said = refusal(uri)
    assert f"{driver} is missing; try " in said
    assert cure in said
    assert "pw" not in said


def test_the_extra_is_what_the_message_names() -> None:
    import tomllib

    root = Path(__file__).resolve().parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (driver,) = project["optional-dependencies"]["postgres"]
    assert re.fullmatch(r"psycopg\[binary\]==[\d.]+", driver), "pinned"
    assert driver in (root / "mlflow" / "compose.yaml").read_text()


def test_the_words_of_a_database_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some drivers repeat the whole address when they can't log in."""

    def repeats(url: Any, **_: Any) -> None:
        raise ValueError(f"can't open {url.render_as_string(hide_password=False)}\nsecond line")

    monkeypatch.setitem(sys.modules, "psycopg", ModuleType("psycopg"))
    monkeypatch.setattr("sqlalchemy.create_engine", repeats)
    with socket.create_server(("127.0.0.1", 0)) as database:
        said = refusal(f"postgresql://u:pw@127.0.0.1:{database.getsockname()[1]}/db")
    assert "can't open postgresql://u:***@127" in said
    assert "pw" not in said


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("no database " * 99)
    assert "there is no folder /no/such" in refusal("sqlite:////no/such/mlflow.db")
    assert "must be a database that can be opened" in refusal("sqlite:///text")
    for uri in ("sqlite://", "sqlite:///:memory:"):
        assert refusal(uri) == f"--tracking-uri={uri}: must be a file; try sqlite:///mlflow.db"
    assert "must be a file that can be written" in refusal(f"sqlite:///{tmp_path}")
    tracker(None).check()
    tracker("sqlite:///fresh.db").check()
    assert [path.name for path in tmp_path.iterdir()] == ["text"], "a check creates nothing"


def test_logins_from_the_shell_reach_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    known = b'{"experiment": {"lifecycle_stage": "active"}}'
    with answering(200, known) as (port, logins):
        tracker(f"http://127.0.0.1:{port}").check()
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t")
        tracker(f"http://127.0.0.1:{port}").check()
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "u")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pw")
        tracker(f"http://127.0.0.1:{port}").check()
        tracker(f"http://v:p%40w@127.0.0.1:{port}").check()
    assert logins == [None, "Bearer t", "Basic dTpwdw==", "Basic djpwQHc="]  # u:pw, v:p@w


@pytest.mark.slow
def test_a_real_login(server: "Server", monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no credentials of whoever runs this
    tracker(server.uri).check()
    assert "it refused the login" in refusal(server.bare)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.bare)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    said = refusal(None)
    assert said.startswith(f"MLFLOW_TRACKING_URI={server.bare}: must be a server that lets you in")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a b@secret1234")
    logged_in = tracker(None, "from the shell")
    logged_in.connect()
    assert logged_in.command == f"open {server.bare}"
    assert server.client.get_experiment_by_name("from the shell") is not None
