"""Atomic writes: a crash, even of the machine, leaves the old file or the new one.

    with replacing(path) as beside:   # renamed and flushed to the disk when the block ends
        beside.write_bytes(content)
    write_json(path, {"format": 1})
    with kernel_lock(path):           # one process at a time; the lock dies with its holder

Standard library and filelock only.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import UnixFileLock

from trainables.errors import UserError

TEMPORARY = ".tmp-"  # prefix of a file's name until it is complete


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; after the block its file replaces `path` durably."""
    beside = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        yield beside
        sync(beside)
        os.replace(beside, path)
        sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write the value as JSON atomically; ValueError if it holds NaN. indent: in spaces."""
    text = json.dumps(value, indent=indent, allow_nan=False)
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def make_folder(where: str, folder: Path) -> None:
    """Make a folder and those above it; UserError, naming the setting `where`, if it can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(where, folder, error.strerror) from None


def refused(where: str, folder: Path, reason: str | None) -> UserError:
    """Return the error that a folder can't be written to. where: the setting that names it."""
    return UserError(f"{where}={folder}: must be a folder to write to ({reason}); try another one")


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_same(where: str, path: Path, sha256: str) -> None:
    """Raise UserError unless the file has this digest, or begins with it. where: the setting."""
    if not file_digest(path).startswith(sha256):
        raise UserError(
            f"{where}={path}: must be the same file on every node until the search ends, and it is "
            "another; try the same command again, or a shared folder"
        )


def kernel_lock(path: Path) -> UnixFileLock:
    """Return a lock between processes and threads that the kernel frees if its holder is killed.

    filelock's fall-back without flock is refused: its marker file survives a killed holder.
    """
    return UnixFileLock(path, thread_local=False, fallback_to_soft=False)
