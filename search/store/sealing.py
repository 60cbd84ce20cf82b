"""The manifest of a finished stage: the files in its folder, and checks against damage.

    write_json(folder / MANIFEST, sealed(folder, {"spec": ..., "result": ...}))
    manifest = read(folder)                        # None: no folder; Damaged: unreadable
    for problem in problems(folder, manifest): ...

`files` holds the bytes and the sha256 of every file, `digest` a hash of the manifest itself.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, cast

from trainables.durable import file_digest, sync
from trainables.spec import digest
from trainables.storage import CHECKPOINT

MANIFEST = "manifest.json"


class File(TypedDict):
    """A file as it was committed."""

    bytes: int
    sha256: str


class Manifest(TypedDict, total=False):
    """What is known of a finished stage. result: numbers, whose names depend on the kind."""

    key: str
    spec: dict[str, Any]  # the fields of a StageSpec, as they are hashed
    result: Mapping[str, float | str]
    score: Mapping[str, object] | None  # the fields of a Score; None if the kind scores nothing
    seconds: float
    device: str
    host: str
    created: str  # ISO 8601, UTC
    attempts: int
    files: dict[str, File]  # added by `sealed`, as is the digest
    digest: str


class Damaged(Exception):
    """Raised for a finished stage that differs from what was committed; says how."""


def sealed(folder: Path, manifest: Manifest) -> Manifest:
    """Flush the folder to disk and return the manifest with `files` and `digest` added."""
    files: dict[str, File] = {}
    for path in sorted(set(folder.rglob("*")) - {folder / CHECKPOINT}):
        sync(path)
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    whole = json.loads(json.dumps({**manifest, "files": files}, allow_nan=False))
    return {**whole, "digest": digest(whole)}


def read(folder: Path) -> Manifest | None:
    """Return the manifest of a finished stage; None without a folder, Damaged if unreadable."""
    for _ in range(2):  # the stage may be committed between the two checks
        try:
            found = json.loads((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            if not folder.exists():
                return None
        except ValueError as error:
            raise Damaged(f"{MANIFEST} cannot be read ({error})") from error
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOTDIR, errno.EISDIR):
                raise  # the stage may be undamaged
            raise Damaged(f"{MANIFEST} cannot be read ({error.strerror})") from error
        else:
            if not isinstance(found, dict):
                raise Damaged(f"{MANIFEST} is not a stage's manifest")
            return cast(Manifest, found)
    raise Damaged(f"{MANIFEST} is missing")


def problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield one line for every difference from what was committed; reads every file."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not isinstance(manifest.get("spec"), dict):
        yield f"{MANIFEST} is not a stage's manifest"
        return
    try:
        if not folder.name.endswith(f"-{digest(manifest['spec'])}"):
            yield "its specification does not hash to its key"
        if not _whole(manifest):
            yield f"{MANIFEST} is not what was committed"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield f"{MANIFEST} cannot be hashed ({error})"
    for name, entry in files.items():
        if said := _difference(folder, name, entry):
            yield said


def _whole(manifest: Manifest) -> bool:
    """Return whether the manifest's digest fits."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return manifest.get("digest") == digest(rest)


def _difference(folder: Path, name: str, entry: Any) -> str | None:
    """Return what is wrong with one file, or None."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        return f"{name!r} is not inside the stage"
    known = entry if isinstance(entry, dict) else {}
    path = folder / inside
    try:
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != known.get("bytes"):
            return f"{name} has {size} bytes, {known.get('bytes')} were committed"
        if file_digest(path) != known.get("sha256"):
            return f"{name} is not what was committed (its sha256 differs)"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"{name} cannot be read ({error.strerror})"
    return None
