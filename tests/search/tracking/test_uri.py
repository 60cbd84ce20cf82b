"""Passwords are masked in every text; what is remote and what is not."""

import shlex
from pathlib import Path

import pytest

from search.tracking.uri import Address, masked

PASSWORDS = ["pw", "p@ss", "p/w", "p:w", "p#w?", "%40%2F", "pä€", "***x", "p'q\"r", "a=b&c", "[1]"]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("scheme", ["postgresql+psycopg2", "http", "mysql", "https"])
def test_the_password_of_an_address(scheme: str, password: str) -> None:
    address = f"{scheme}://u:{password}@h:1/db"
    assert masked(address) == f"{scheme}://u:***@h:1/db"
    assert masked(masked(address)) == masked(address)
    inside = f"error: could not open <{address}>, giving up"
    assert masked(inside) == f"error: could not open <{scheme}://u:***@h:1/db>, giving up"


def test_several_addresses() -> None:
    text = "from postgresql://u:a@h/x to http://me@team.org:b@i, or='mysql://:c@j'"
    expected = "from postgresql://u:***@h/x to http://me@team.org:***@i, or='mysql://:***@j'"
    assert masked(text) == expected
    assert masked("http://u:a@h,http://v:b@i") == "http://u:***@h,http://v:***@i"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql:///db?host=h&password=x&a=1", "postgresql:///db?host=h&password=***&a=1"),
        ("http://h/?access_token=x#y", "http://h/?access_token=***"),
        ("DRIVER=x;PWD={a;b};UID=u", "DRIVER=x;PWD=***;UID=u"),
        ("?odbc_connect=UID%3Du%3BPWD%3Dx%3BA%3D1", "?odbc_connect=UID%3Du%3BPWD%3D***%3BA%3D1"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
    ],
)
def test_secret_parameters(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////data/a:b@c/mlflow.db", "http://head:5000/x", "postgresql://u@h/db", "me@x.org",
        "seed=1 data.params.label_column=token_x", "12:30 at http://h, mail me@x.org",
    ],
)  # fmt: skip
def test_what_holds_no_password_stays(text: str) -> None:
    assert masked(text) == text


def test_an_address_never_shows_its_password() -> None:
    address = Address.of("postgresql://u:pw@h/db")
    assert "pw" not in f"{address} {address!r}"


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("sqlite:////a/b.db", False), ("http://localhost:5000", False), ("https://[::1]:1", False),
        ("http://u:p@127.0.0.9:5000", False), ("http://head:5000", True),
        ("http://10.0.0.1:5000", True), ("https://localhost.evil.org", True),
        ("postgresql://localhost/db", True),
    ],
)  # fmt: skip
def test_remote(uri: str, remote: bool) -> None:
    assert Address.of(uri).remote == remote


def test_where_it_comes_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address.of(None).uri == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://head:5000")
    assert Address.of(None) == Address("MLFLOW_TRACKING_URI", "http://head:5000")
    assert Address.of("http://other") == Address("--tracking-uri", "http://other")


def test_the_line_to_go_on_holds_no_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from search import run, session
    from search.console import exit

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "Session", interrupted)
    monkeypatch.setattr(exit, "listen", lambda: None)
    monkeypatch.setattr(exit, "heard", lambda: None)
    arguments = ["--space", "isic3", "--tracking-uri", "http://u:p'w@h", "policy=tpe"]
    assert run.main(arguments) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert shlex.split(last)[2:] == [*arguments[:3], "http://u:***@h", "policy=tpe"]
