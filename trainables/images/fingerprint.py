"""Digests of a data set's image files, and other texts read from them, remembered between starts.

    contents(files, cache_root)                                # digests of the bytes
    remembered(files, cache_root, "patients", dicom.patient)   # what `dicom.patient` reads of each

`digests-*.json` in the cache's folder, one per data folder, keeps each file's text with its path,
size and times of its last changes, so that a second start does not read gigabytes again. A file put
in another's place may keep its size and modification time, but not the time of the change itself.
Files whose pixels depend on how they are read (`picture.reading`) have that in their digest.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from trainables.durable import file_digest, make_folder, write_json
from trainables.errors import UserError
from trainables.images.files import regular
from trainables.images.picture import reading
from trainables.processor import cores
from trainables.spec import digest

MEMORY = 2  # version of the file; digests of another are forgotten
Entry = tuple[int, int, int, str]  # size, mtime_ns, ctime_ns, what was read
Known = dict[str, Entry]  # by path


def contents(sources: Sequence[Path | str], cache_root: Path, of: str = "") -> list[str]:
    """Return the digest of each file's bytes; a text stands for itself.

    of: tells two sets of files in one data folder apart, so that each has its own memory.
    """
    files = {s: Path(os.path.abspath(s)) for s in sources if isinstance(s, Path)}
    digests = remembered(list(files.values()), cache_root, of, _digest)
    return [digests[files[s]] if isinstance(s, Path) else s for s in sources]


def remembered(
    files: Sequence[Path], cache_root: Path, of: str, read: Callable[[Path], str]
) -> dict[Path, str]:
    """Return what `read` returns of every file; it is called for new and changed files only.

    files: absolute paths. of: names what is read, so that each kind has its own memory.
    """
    if not files:
        return {}
    place = hashlib.sha256(f"{os.path.commonpath(files)}{of}".encode()).hexdigest()[:16]
    memory = cache_root / f"digests-{place}.json"
    known, distinct = _remembered(memory), list(dict.fromkeys(files))
    with ThreadPoolExecutor(cores()) as pool:
        entries = list(pool.map(lambda file: _entry(file, known.get(str(file)), read), distinct))
    now = {str(file): entry for file, entry in zip(distinct, entries, strict=True)}
    if now != known:
        make_folder("cache", cache_root)
        write_json(memory, {"files": now, "digest": digest(now), "version": MEMORY})
    return {file: entry[-1] for file, entry in zip(distinct, entries, strict=True)}


def _digest(file: Path) -> str:
    return file_digest(file) + reading(file)


def _remembered(memory: Path) -> Known:
    """Read the remembered digests; {} if the file is missing or damaged."""
    try:
        found = json.loads(memory.read_bytes())
        sound = found["version"] == MEMORY and found["digest"] == digest(found["files"])
        files = found["files"] if sound else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {path: tuple(entry) for path, entry in files.items()}


def _entry(file: Path, known: Entry | None, read: Callable[[Path], str]) -> Entry:
    stat = regular(file)
    now = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    if known and known[:-1] == now:
        return known
    try:
        return *now, read(file)
    except OSError as error:
        raise UserError(f"{file}: must be readable ({error.strerror}); try its rights") from error
