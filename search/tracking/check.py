"""Refuse an unusable tracker: quickly, without mlflow, and without creating anything.

check(Address.of("http://head:5000"), "isic3")     # UserError in one line

MLflow's own retries take minutes, and some of its messages contain the password.
"""

import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.tracking.outbox import reason
from search.tracking.uri import HIDDEN, Address
from trainables.errors import UserError

if TYPE_CHECKING:
    from requests import Response
    from sqlalchemy import URL

REACH_SECONDS = 4.0
SILENT = f"no answer within {REACH_SECONDS:g} s"
START = "to start it (mlflow/README.md), or leave it out"
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
SCHEMES = ("sqlite", "http", "https", *PORTS)
INSTALL = {  # a missing module -> the command that installs it
    "psycopg": "`uv sync --extra postgres`",
    "MySQLdb": "mysql+pymysql:// and `uv pip install pymysql`",
    "pyodbc": "`uv pip install pyodbc`",
}
ELSEWHERE = ("MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4")  # logins that only mlflow can use


def check(address: Address, experiment: str) -> None:
    """Raise UserError without an answer or a driver, or if the experiment was deleted."""
    if address.scheme not in SCHEMES:
        raise refused(
            address,
            f"an address that begins with one of {', '.join(SCHEMES)}",
            "sqlite:///mlflow.db or http://head:5000",
        )
    if address.scheme == "sqlite":
        _check_file(address, experiment)
        return
    _check_userinfo(address)
    if address.http:
        _check_server(address, experiment)
    else:
        _check_database(address, experiment)


def refused(address: Address, must: str, cure: str) -> UserError:
    """Return the error for an unusable address: what it must be, and what to try."""
    return UserError(f"{address.where or 'MLflow'}={address}: must be {must}; try {cure}")


@contextmanager
def refusing(address: Address, must: str, cure: str) -> Iterator[None]:
    """Raise the error for an unusable address if the block fails; drivers raise anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise refused(address, f"{must} ({reason(error)})", cure) from None


def deleted(experiment: str, number: object, address: Address) -> UserError:
    """Return the error for an experiment, by name and MLflow's id, that was deleted."""
    return UserError(
        f"name={experiment}: must not be an experiment that was deleted in MLflow; try "
        f"`MLFLOW_TRACKING_URI={address} mlflow experiments restore --experiment-id {number}`, "
        "or another name=..."
    )


def _check_userinfo(address: Address) -> None:
    """Refuse an unencoded @ or / in a password: part of it would be printed as the host."""
    scheme, _, rest = address.uri.partition("://")
    userinfo, at, host = rest.rpartition("@")
    if at and re.search(r"[@/?#\s]", userinfo):
        raise UserError(
            f"{address.where}={scheme}://{HIDDEN}@{host}: must have its user and password "
            "percent-encoded; try %40 for @, %2F for /, %3F for ?, %23 for #"
        )
    try:
        valid = bool(urlsplit(address.uri).port or True)
    except ValueError:
        valid = False
    if not valid or re.search(r"\s", address.uri):
        raise refused(address, "an address as SCHEME://HOST:PORT", "http://head:5000")


# -- a server --------------------------------------------------------------------------------------


def _check_server(address: Address, experiment: str) -> None:
    import requests

    try:
        answer = _ask(address, experiment)
    except (requests.RequestException, OSError, ValueError) as error:
        must = f"a server that answers: {SILENT} ({_cause(error)})"
        raise refused(address, must, START) from None
    if answer.status_code == 401 and not _login_elsewhere():
        raise refused(
            address,
            "a server that lets you in: it refused the login",
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if answer.ok and (found := _json(answer).get("experiment")):
        if found.get("lifecycle_stage") == "deleted":
            raise deleted(experiment, found["experiment_id"], address)
    elif "error_code" not in _json(answer) and answer.status_code not in (401, 403):
        raise refused(
            address,
            f"an MLflow server: it answered {answer.status_code} {answer.reason}",
            "the address that a browser shows MLflow at",
        )


def _ask(address: Address, experiment: str) -> "Response":
    """Send a request with mlflow's login: the address's, else the environment's."""
    import requests

    env = os.environ
    user, password, token = (
        env.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    basic = bool(user and password)
    unsafe = env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
    with warnings.catch_warnings(action="ignore"):  # about TLS checks that the user switched off
        return requests.get(
            f"{address.uri.rstrip('/')}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": experiment},
            auth=(user, password) if basic and "@" not in address.uri else None,
            headers={"Authorization": f"Bearer {token}"} if token and not basic else None,
            verify=env.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or not unsafe,
            cert=env.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None,
            timeout=REACH_SECONDS,
        )


def _login_elsewhere() -> bool:
    stored = Path("~/.mlflow/credentials").expanduser()
    return stored.exists() or any(os.environ.get(name) for name in ELSEWHERE)


def _json(answer: "Response") -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _cause(error: BaseException) -> str:
    """Return the innermost reason, e.g. `[Errno 111] Connection refused`."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return reason(error)


# -- a database ------------------------------------------------------------------------------------


def _check_file(address: Address, experiment: str) -> None:
    path = address.file
    if path is None or path.name == ":memory:":
        raise refused(address, "a file", "sqlite:///mlflow.db")
    if not path.parent.is_dir():
        raise refused(address, f"in a folder that exists: there is no folder {path.parent}",
                      f"`mkdir -p {path.parent}`")  # fmt: skip
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise refused(address, "a file that can be written", "another one")
    if path.exists() and path.stat().st_size:
        from sqlalchemy import make_url

        _check_experiment(make_url(address.uri), address, experiment)


def _check_database(address: Address, experiment: str) -> None:
    from sqlalchemy import make_url

    with refusing(address, "a database", "postgresql://HOST/NAME"):
        url = make_url(address.uri)
        try:
            url.get_dialect().import_dbapi()
        except ImportError as error:
            missing = error.name or "its driver"
            install = INSTALL.get(missing, f"`uv pip install {missing}`")
            must = f"a database whose driver is installed: {missing} is missing"
            raise refused(address, must, install) from None
    if url.host:
        with refusing(address, f"a database that answers: {SILENT}", START):
            port = url.port or PORTS[address.scheme]
            socket.create_connection((url.host, port), REACH_SECONDS).close()
    _check_experiment(url, address, experiment)


def _check_experiment(url: "URL", address: Address, experiment: str) -> None:
    """Log in and check that the experiment was not deleted; only reads."""
    from sqlalchemy import NullPool, create_engine, inspect, text

    asked = text("SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = :name")
    with refusing(address, "a database that can be opened", "another one"):
        with create_engine(url, poolclass=NullPool).connect() as link:
            known = inspect(link).has_table("experiments")
            found = link.execute(asked, {"name": experiment}).first() if known else None
    if found is not None and found.lifecycle_stage == "deleted":
        raise deleted(experiment, found.experiment_id, address)
