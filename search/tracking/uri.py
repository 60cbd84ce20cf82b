"""Addresses of trackers, and `masked`: every text that may hold one passes through it.

masked("postgresql://u:pw@h/db")     # postgresql://u:***@h/db
Address.of(None).uri                 # MLFLOW_TRACKING_URI, else sqlite:////current/folder/mlflow.db
"""

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

DATABASE = "mlflow.db"  # in the current directory, where `mlflow ui` looks
OPTION, VARIABLE = "--tracking-uri", "MLFLOW_TRACKING_URI"
HIDDEN = "***"
# Up to the last @ of a word: a password that is not percent-encoded may itself hold an @.
USERINFO = re.compile(
    r"(\w[\w+.-]*://[^\s/:?#]*):(?:(?!(?:https?|sqlite|postgres(?:ql)?|mysql|mssql)[\w+]*://)\S)+@"
)
# As ?password=..., ;PWD=..., token='...'; %3D and %3B are = and ; inside an ODBC string.
PARAMETER = re.compile(
    r"((?:password|passwd|pwd|token|secret|api_?key)(?:=|%3D))"
    r"""('[^']*'|"[^"]*"|\{[^}]*\}|(?:(?!%3B|%26)[^\s&;"'<>])+)""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Return the text with every password of an address and every secret parameter as ***."""
    return PARAMETER.sub(rf"\1{HIDDEN}", USERINFO.sub(rf"\1:{HIDDEN}@", text))


@dataclass(frozen=True)
class Address:
    """Where a tracker is and who said so; `uri` holds the password, str() does not."""

    where: str  # the option or variable that gave it; "" if none did
    uri: str = field(repr=False)

    @classmethod
    def of(cls, given: str | None) -> "Address":
        if given is not None:
            return cls(OPTION, given)
        if from_shell := os.environ.get(VARIABLE):
            return cls(VARIABLE, from_shell)
        return cls("", f"sqlite:///{Path.cwd() / DATABASE}")

    def __str__(self) -> str:
        return masked(self.uri)

    @property
    def scheme(self) -> str:
        """`postgresql` of `postgresql+psycopg://...`."""
        return self.uri.partition("://")[0].partition("+")[0] if "://" in self.uri else ""

    @property
    def http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def remote(self) -> bool:
        """All but a SQLite file and an http server on loopback; a tunnel looks like the latter."""
        if self.scheme == "sqlite":
            return False
        return not (self.http and _loopback(urlsplit(self.uri).hostname or ""))

    @property
    def file(self) -> Path | None:
        """The SQLite file, `sqlite:///relative` or `sqlite:////absolute`; None: no such file."""
        path = self.uri.partition(":///")[2].partition("?")[0]
        return Path(path).absolute() if self.scheme == "sqlite" and path else None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
