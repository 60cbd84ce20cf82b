"""Plug-ins: a file in a package's folder, whose class `Plugin` is the implementation.

Another installed package brings more, but replaces none, by entry points called ENTRY_POINTS:
`"trainables.pretext.sobel" = "itspackage.sobel"`; their YAML files lie in `itspackage/spaces/`.

load("trainables.pretext", "moco")     -> trainables/pretext/moco.py: Plugin
version("trainables.pretext", "moco")  -> "1", of the class, which is not imported
available("search.policies")           -> ("curriculum", "exhaustive", ...)
"""

import ast
import difflib
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.errors import UserError

ENTRY_POINTS = "ssl_curriculum_search"


def available(package: str) -> tuple[str, ...]:
    """List the plug-ins of a package by name, without importing any of them."""
    return tuple(sorted(_own(package) | _elsewhere(package).keys()))


def _own(package: str) -> set[str]:
    stems = (p.stem for p in _folder(package).glob("*.py") if p.stem.isidentifier())
    return {stem for stem in stems if not stem.startswith("_")}


def load(package: str, name: str) -> Any:
    """Return the class `Plugin` of `package/name.py`; UserError names the nearest match."""
    if name not in available(package):
        raise UserError(unknown(package.rpartition(".")[2], name, available(package)))
    try:
        return import_module(_module(package, name)).Plugin
    except Exception as error:  # code of other packages may raise anything
        if name not in _elsewhere(package):
            raise
        raise _broken(package, name, error) from error


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
    """Return the syntax tree of a plug-in's source; UserError if its package is broken."""
    try:
        spec = find_spec(_module(package, name))
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("there is no such module")
        return ast.parse(Path(spec.origin).read_bytes())
    except (ImportError, SyntaxError) as error:
        raise _broken(package, name, error) from error


def _broken(package: str, name: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return UserError(
        f"{package}.{name}: must be a module with a class Plugin, in {_module(package, name)} "
        f"({reason}); try installing its package again, or `pip uninstall` for it"
    )


@cache
def folders() -> tuple[Path, ...]:
    """Return the `spaces` folders of other installed packages with plug-ins."""
    named = {point.module.partition(".")[0] for point in entry_points(group=ENTRY_POINTS)}
    specs = filter(None, map(find_spec, sorted(named)))  # one may be absent
    found = (Path(at) / "spaces" for one in specs for at in one.submodule_search_locations or ())
    return tuple(folder for folder in found if folder.is_dir())


@cache
def _elsewhere(package: str) -> dict[str, str]:
    """Return the modules of this package's plug-ins that other installed packages bring."""
    named = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    begins = f"{package}."
    found = {k.removeprefix(begins): v for k, v in named.items() if k.startswith(begins)}
    return {name: module for name, module in found.items() if name not in _own(package)}


def _module(package: str, name: str) -> str:
    return _elsewhere(package).get(name, f"{package}.{name}")


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
