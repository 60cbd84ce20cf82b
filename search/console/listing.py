"""The choices in `spaces/`, and the stores, listed without importing a plug-in.

for text in lines(["/shared/store"]): print(text)
"""

import ast
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from search.space import compose
from search.store.stage_store import PART, STAMP, StageStore
from trainables.errors import UserError
from trainables.plugins import available, parsed

KINDS = {  # title -> folder in spaces/, package of its plug-ins
    "spaces": ("", ""),
    "tasks": ("task", "trainables.pretext"),
    "downstream tasks": ("downstream", "trainables.kinds"),
    "data sets": ("data", "trainables.data"),
    "policies": ("policy", "search.policies"),
    "profiles": ("profile", ""),
    "modalities": ("modality", ""),
}


def lines(stores: Sequence[str] = ()) -> Iterator[str]:
    """Yield a line for every choice and store; UserError if one of `stores` is no store.

    stores: folders, listed after those that the spaces name.
    """
    for title, (folder, package) in KINDS.items():
        yield title
        for path in compose.yaml_files(folder):
            about = _comment(path) or _docstring(package, path.stem)
            yield f"  {path.stem:20}{about}".rstrip()
    yield "stores"
    usual = dict.fromkeys(filter(is_store, map(_store, sorted(compose.SPACES.glob("*.yaml")))))
    for root in dict.fromkeys([*usual, *stores]):
        yield f"  {root:20}{len(opened(root).keys())} finished stages"


def is_store(root: str) -> bool:
    return bool(root) and (Path(root) / STAMP).exists()


def opened(root: str) -> StageStore:
    """Return the store in this folder; UserError if there is none."""
    if not is_store(root):
        raise UserError(f"--store={root}: must be a store, with {STAMP} in it; try runs/store")
    return StageStore(root)


def sizes(store: StageStore) -> list[str]:
    """Return a line each for finished, unfinished and damaged stages: number and size."""
    parts = {
        "finished": [store.path(key) for key in store.keys()],
        "unfinished": sorted(store.root.glob(f"*{PART}")),
        "damaged": sorted(store.root.glob(".damaged/*")),
    }
    return [
        f"{name:12}{len(folders):6} stages {sum(map(_bytes, folders)) / 1e9:10.3f} GB"
        for name, folders in parts.items()
    ]


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a running search may remove it
            total += path.lstat().st_size if path.is_file() else 0
    return total


def _comment(path: Path) -> str:
    """Return the first line if it is a comment, else ""."""
    first = path.read_text("utf-8", errors="replace").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else ""


def _docstring(package: str, name: str) -> str:
    """Return the first line of the plug-in's docstring, without importing it."""
    if not package or name not in available(package):
        return ""
    return (ast.get_docstring(parsed(package, name)) or "").partition("\n")[0]


def _store(path: Path) -> str:
    """Return the store that a space's file names; "" if it names none or cannot be read."""
    try:
        return str(yaml.safe_load(path.read_text("utf-8")).get("store", ""))
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return ""
