"""Tracker addresses, and `masked`, for every text that may contain a password.

masked("postgresql://u:pw@h/db")     # postgresql://u:***@h/db
Address.of(None).uri                 # MLFLOW_TRACKING_URI, else sqlite:////current/folder/mlflow.db
"""

import os
import re
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

DATABASE = "mlflow.db"  # in the current directory, where `mlflow ui` reads it
OPTION, VARIABLE = "--tracking-uri", "MLFLOW_TRACKING_URI"
HIDDEN = "***"
# Matches to the last @ of a word: a password that is not percent-encoded may contain an @.
USERINFO = re.compile(
    r"(\w[\w+.-]*://[^\s/:?#]*):(?:(?!(?:https?|sqlite|postgres(?:ql)?|mysql|mssql)[\w+]*://)\S)+@"
)
# E.g. ?password=..., ;PWD=..., token='...'; %3D and %3B are = and ; inside an ODBC string.
PARAMETER = re.compile(
    r"((?:password|passwd|pwd|token|secret|api_?key)(?:=|%3D))"
    r"""('[^']*'|"[^"]*"|\{[^}]*\}|(?:(?!%3B|%26)[^\s&;"'<>])+)""",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Replace every password in an address and every secret parameter by ***."""
    return PARAMETER.sub(rf"\1{HIDDEN}", USERINFO.sub(rf"\1:{HIDDEN}@", text))


@dataclass(frozen=True)
class Address:
    """A tracker's address and its origin; `uri` contains the password, str() does not."""

    where: str  # the option or variable that set it, or ""
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
        """Return e.g. `postgresql` of `postgresql+psycopg://...`."""
        return self.uri.partition("://")[0].partition("+")[0] if "://" in self.uri else ""

    @property
    def http(self) -> bool:
        return self.scheme in ("http", "https")

    @property
    def remote(self) -> bool:
        """Return False for a SQLite file and for http on loopback (which may be a tunnel)."""
        if self.scheme == "sqlite":
            return False
        return not (self.http and _loopback(urlsplit(self.uri).hostname or ""))

    @property
    def file(self) -> Path | None:
        """Return the file of `sqlite:///relative` or `sqlite:////absolute`, else None."""
        path = self.uri.partition(":///")[2].partition("?")[0]
        return Path(path).absolute() if self.scheme == "sqlite" and path else None


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
