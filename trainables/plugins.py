"""Plug-ins: a file in a package's folder, whose class `Plugin` is the implementation.

load("trainables.pretext", "moco")     -> trainables/pretext/moco.py: Plugin
version("trainables.pretext", "moco")  -> "1", of the class, which is not imported
available("search.policies")           -> ("curriculum", "exhaustive", ...)
"""

import ast
import difflib
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import UserError


def available(package: str) -> tuple[str, ...]:
    """List the plug-ins of a package by file name, without importing any of them."""
    stems = (p.stem for p in _folder(package).glob("*.py") if p.stem.isidentifier())
    return tuple(sorted(stem for stem in stems if not stem.startswith("_")))


def load(package: str, name: str) -> Any:
    """Return the class `Plugin` of `package/name.py`; UserError names the nearest match."""
    if name not in available(package):
        raise UserError(unknown(package.rpartition(".")[2], name, available(package)))
    return import_module(f"{package}.{name}").Plugin


@cache
def version(package: str, name: str) -> str:
    """Return `version` of the class `Plugin`, read from its source: an import may load torch."""
    classes = [node for node in parsed(package, name).body if isinstance(node, ast.ClassDef)]
    for line in (line for one in classes if one.name == "Plugin" for line in one.body):
        match line:
            case ast.Assign([ast.Name("version")], ast.Constant(str(found))):
                return found
    raise UserError(
        f'{package}.{name}: must have a version in its class Plugin; try `version = "1"` there'
    )


def parsed(package: str, name: str) -> ast.Module:
    return ast.parse((_folder(package) / f"{name}.py").read_bytes())


def _folder(package: str) -> Path:
    spec = find_spec(package)
    assert spec, package
    assert spec.submodule_search_locations, package
    return Path(next(iter(spec.submodule_search_locations)))


def name_of(plugin: type) -> str:
    return plugin.__module__.rpartition(".")[2]


def unknown(where: str, value: str, known: Sequence[str]) -> str:
    """Return the error line of an unknown name: `WHERE=VALUE: must be one of ...; try ...`."""
    return f"{where}={value}: {one_of(value, known)}"


def one_of(value: str, known: Sequence[str]) -> str:
    """Return `must be one of a, b; try b`: all known names and the nearest match."""
    if not known:
        return "must be left out, as no name is known here; try without it"
    names = sorted(known)
    return f"must be one of {', '.join(names)}; try {near(value, names) or names[0]}"


def near(value: str, known: Sequence[str]) -> str:
    """Return the most similar known name, or "" if none is similar."""
    return next(iter(difflib.get_close_matches(value, known, n=1)), "")
