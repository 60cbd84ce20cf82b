"""Plug-ins: a file in the package's folder, whose class `Plugin` is the implementation.

load("trainables.pretext", "moco")     -> trainables/pretext/moco.py: Plugin
available("search.policies")           -> ("curriculum", "exhaustive", ...)
"""

import difflib
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import UserError


def available(package: str) -> tuple[str, ...]:
    """The plug-ins of a package by file name, without importing any of them."""
    spec = find_spec(package)
    assert spec, package
    assert spec.submodule_search_locations, package
    folder = Path(next(iter(spec.submodule_search_locations)))
    stems = (p.stem for p in folder.glob("*.py") if p.stem.isidentifier())
    return tuple(sorted(stem for stem in stems if not stem.startswith("_")))


def load(package: str, name: str) -> Any:
    """The class `Plugin` of `package/name.py`; UserError with the near match if there is none."""
    if name not in available(package):
        raise UserError(unknown(package.rpartition(".")[2], name, available(package)))
    return import_module(f"{package}.{name}").Plugin


def unknown(where: str, came: str, known: Sequence[str]) -> str:
    """One line: what was not known, everything that is, the near match."""
    return f"{where}={came}: {one_of(came, known)}"


def one_of(came: str, known: Sequence[str]) -> str:
    """`must be one of a, b; try b`: everything that is known, and the near match."""
    if not known:
        return "must be left out, as nothing is known here; try without it"
    names = sorted(known)
    return f"must be one of {', '.join(names)}; try {near(came, names) or names[0]}"


def near(came: str, known: Sequence[str]) -> str:
    """The known name that looks like it, if there is one."""
    return next(iter(difflib.get_close_matches(came, known, n=1)), "")
