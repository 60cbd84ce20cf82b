"""A finished stage's manifest: what is in the folder, and whether that is still so.

    write_json(folder / MANIFEST, sealed(folder, {"spec": ..., "result": ...}))
    manifest = read(folder)                        # None: no folder; Damaged: unreadable
    for problem in problems(folder, manifest): ...

`files` holds the bytes and the sha256 of every file, `digest` a hash of the manifest itself.
"""

import errno
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from trainables.durable import file_digest, sync
from trainables.spec import digest
from trainables.storage import CHECKPOINT

MANIFEST = "manifest.json"


class Damaged(Exception):
    """A finished stage that is not as it was committed, with what is wrong."""


def sealed(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Flush all that lies in the folder; the manifest with `files` and `digest` added."""
    files = {}
    for path in sorted(set(folder.rglob("*")) - {folder / CHECKPOINT}):
        sync(path)
        if path.is_file():
            entry = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
            files[path.relative_to(folder).as_posix()] = entry
    whole = json.loads(json.dumps({**manifest, "files": files}, allow_nan=False))
    return {**whole, "digest": digest(whole)}


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished stage; None if there is no such folder."""
    for _ in range(2):  # the stage may be committed between the two questions
        try:
            found = json.loads((folder / MANIFEST).read_bytes())
        except FileNotFoundError:
            if not folder.exists():
                return None
        except ValueError as error:
            raise Damaged(f"{MANIFEST} cannot be read ({error})") from error
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOTDIR, errno.EISDIR):
                raise  # the stage may be sound
            raise Damaged(f"{MANIFEST} cannot be read ({error.strerror})") from error
        else:
            if not isinstance(found, dict):
                raise Damaged(f"{MANIFEST} is not one of a stage")
            return found
    raise Damaged(f"{MANIFEST} is missing")


def problems(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """One line for everything that is not as it was committed; reads every file."""
    files = manifest.get("files")
    if not isinstance(files, dict) or not isinstance(manifest.get("spec"), dict):
        yield f"{MANIFEST} is not one of a stage"
        return
    try:
        if not folder.name.endswith(f"-{digest(manifest['spec'])}"):
            yield "its specification does not hash to its key"
        if not _whole(manifest):
            yield f"{MANIFEST} is not what was committed"
    except ValueError as error:
        yield f"{MANIFEST} cannot be hashed ({error})"
    for name, entry in files.items():
        if said := _difference(folder, name, entry):
            yield said


def _whole(manifest: Mapping[str, Any]) -> bool:
    """Whether the manifest's own digest fits; an older one has none, and sizes for digests."""
    if "digest" not in manifest:
        return all(isinstance(entry, int) for entry in manifest["files"].values())
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return manifest["digest"] == digest(rest)


def _difference(folder: Path, name: str, entry: Any) -> str | None:
    """What is wrong with one file. A number as entry, its size, is of an older version."""
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        return f"{name!r} is not inside the stage"
    known = entry if isinstance(entry, dict) else {"bytes": entry}
    path = folder / inside
    try:
        if not path.is_file():
            return f"{name} is missing"
        if (size := path.stat().st_size) != known.get("bytes"):
            return f"{name} has {size} bytes, {known.get('bytes')} were committed"
        if isinstance(entry, dict) and file_digest(path) != known.get("sha256"):
            return f"{name} is not what was committed (its sha256 differs)"
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return f"{name} cannot be read ({error.strerror})"
    return None
