"""Plug-ins: a file in the package's folder, whose class `Plugin` is the implementation.

load("trainables.pretext", "moco")     -> trainables/pretext/moco.py: Plugin
available("search.policies")           -> ("curriculum", "exhaustive", ...)
"""

import difflib
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
    return tuple(sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")))


def load(package: str, name: str) -> Any:
    """The class `Plugin` of `package/name.py`; UserError with the near match if there is none."""
    if name not in available(package):
        raise UserError(unknown(package.rpartition(".")[2], name, available(package)))
    return import_module(f"{package}.{name}").Plugin


def unknown(what: str, came: str, known: tuple[str, ...] | list[str]) -> str:
    """One line: what was not known, the near match, everything that is known."""
    near = difflib.get_close_matches(came, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{what} has no {came!r}{hint} Known: {', '.join(sorted(known)) or 'none'}"
