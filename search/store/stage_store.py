"""The stage store, key -> directory: finished stages are committed here; trackers mirror it.

    store = StageStore("runs/store")
    if lock := store.lock(key):             # None: another search is training this stage
        with lock:
            train(out_dir=store.part(key))  # kept with its checkpoint when interrupted
            store.commit(key, {"spec": asdict(spec), ...})  # manifest last, then one rename

    ROOT/STORE.json            the format version and the store's id
    ROOT/KEY/manifest.json     a finished stage: the directory gets this name once complete
    ROOT/KEY.part/             a stage in progress or interrupted
    ROOT/.locks/KEY            flock held while training; the kernel releases it on SIGKILL
    ROOT/.weights/             timm's weights of starts, for all nodes
    ROOT/.damaged/KEY-TIME/    a damaged stage, set aside and trained again
    ROOT/.trash/               being deleted

A process checks all files of a stage against their digests when it first reads the stage.

ROOT is a local or shared path (NFS with locks: version 4, or 3 with lockd).
From a shell: python search/run.py store verify|prune|size|list --store ROOT
"""

import errno
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import Timeout

from search import shell
from search.store import sealing
from search.store.places import stamped
from search.store.sealing import MANIFEST, Damaged, Manifest
from trainables.durable import TEMPORARY, kernel_lock, refused, sync, write_json
from trainables.errors import UserError
from trainables.spec import FORMAT
from trainables.storage import CHECKPOINT, STAMP

log = logging.getLogger(__name__)
PART = ".part"


class StageStore:
    """Finished stages by key, and work in progress. Safe against SIGKILL and other processes."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()
        self._locks, self._trash = self.root / ".locks", self.root / ".trash"
        self._aside = self.root / ".damaged"
        self._sound = set[str]()  # keys whose files this process has checked
        self.damaged: dict[str, str] = {}  # key -> the problem, one line
        try:
            for folder in (self._locks, self._trash):
                folder.mkdir(parents=True, exist_ok=True)
            self.id = self._identified()  # which `storage.store_id` reads on every machine
        except OSError as error:
            raise refused("store", self.root, error.strerror) from None

    def keys(self) -> list[str]:
        """Return the keys of finished stages, sorted; lists the directory, reads no manifest."""
        with os.scandir(self.root) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
        return sorted(name for name in names if not name.endswith(PART))

    def manifest(self, key: str) -> Manifest | None:
        """Return the manifest of a stage; None unless it is finished and undamaged.

        A damaged stage is set aside, noted in `damaged` and logged.
        """
        folder = self.path(key)
        try:
            known = sealing.read(folder)
            if known is not None and key not in self._sound:
                for problem in sealing.problems(folder, known):
                    raise Damaged(problem)
                self._sound.add(key)
        except Damaged as damage:
            self._set_aside(key, str(damage))
            return None
        return known

    def recheck(self, key: str) -> bool:
        """Return whether a finished stage is undamaged, after reading all of it again."""
        self._sound.discard(key)
        return self.manifest(key) is not None

    def path(self, key: str) -> Path:
        """Return the directory of the finished stage, whether it exists or not."""
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", key):
            raise UserError(
                f"store={self.root}: the key {key!r} must be letters, digits, _ and -; "
                "try another store="
            )
        return self.root / key

    def part(self, key: str) -> Path:
        """Return the working directory of an unfinished stage, with earlier attempts' files."""
        part = self.path(key).with_name(key + PART)
        part.mkdir(exist_ok=True)
        return part

    def lock(self, key: str) -> AbstractContextManager[object] | None:
        """Return the lock on `key`, taken until the end of a `with`; None if another has it."""
        lock = kernel_lock(self._locks / self.path(key).name)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            return None

    def commit(self, key: str, manifest: Manifest) -> Manifest:
        """Commit the part directory as a finished stage and return its manifest, sealed.

        If the stage is already finished, that one is kept. The caller holds the lock. UserError if
        the disk is full. The checkpoint is removed last, so that a kill costs this call only.
        """
        part, final = self.path(key).with_name(key + PART), self.path(key)
        if (standing := self.manifest(key)) is not None:
            self._discard(part)
            return standing
        for stale in (part / MANIFEST, *part.glob(f"{TEMPORARY}*")):
            stale.unlink(missing_ok=True)  # from an interrupted commit or checkpoint
        with full_disk_explained(self.root):
            whole = sealing.sealed(part, manifest)
            write_json(part / MANIFEST, whole, indent=1)
            os.rename(part, final)
            sync(self.root)
        (final / CHECKPOINT).unlink(missing_ok=True)
        self._sound.add(key)
        return whole

    def verify(self) -> list[str]:
        """Check every stage and return one line a problem; sets nothing aside."""
        return [f"{key}: {problem}" for key in self.keys() for problem in self._problems(key)]

    def prune(self, keep: Collection[str] | None = None) -> list[str]:
        """Remove damaged stages, and part directories without a process; return their names.

        keep: if given, finished stages not in it are removed too.
        """
        doomed = sorted(self.root.glob(f"*{PART}"))
        if keep is not None:
            doomed += [self.path(key) for key in self.keys() if key not in keep]
        removed = []
        for path in doomed:
            if lock := self.lock(path.name.removesuffix(PART)):
                with lock:
                    self._discard(path)
                removed.append(path.name)
        for leftover in (*self._trash.iterdir(), self._aside):
            shutil.rmtree(leftover, ignore_errors=True)
        return removed

    def check_space(self, bytes_needed: int) -> None:
        """Raise UserError if the store's disk has less free space."""
        free = shutil.disk_usage(self.root).free
        if free < bytes_needed:
            raise UserError(
                f"store={self.root}: must have about {bytes_needed / 1e9:.1f} GB free, has "
                f"{free / 1e9:.1f}; try {_prune(self.root)}, or another store="
            )

    def _identified(self) -> str:
        """Return the store's id, which the first process writes to STORE.json."""
        if (found := stamped(self.root)) is None:
            with kernel_lock(self._locks / STAMP):
                if (found := stamped(self.root)) is None:
                    found = uuid.uuid4().hex
                    write_json(self.root / STAMP, {"format": FORMAT, "id": found})
        return found

    def _problems(self, key: str) -> Iterator[str]:
        try:
            if (known := sealing.read(self.path(key))) is not None:
                yield from sealing.problems(self.path(key), known)
        except Damaged as damage:
            yield str(damage)

    def _set_aside(self, key: str, problem: str) -> None:
        """Rename a damaged stage to ROOT/.damaged, unless another process already has."""
        done = f"set aside in {self._aside}, to be trained again"
        try:
            self._aside.mkdir(exist_ok=True)
            os.rename(self.path(key), self._aside / f"{key}-{time.time_ns()}")
        except FileNotFoundError:
            pass
        except OSError as error:  # a read-only store
            done = f"it cannot be set aside ({error.strerror})"
        said = f"stage {key}: {problem}; {done}"
        if self.damaged.get(key) != said:
            self.damaged[key] = said
            log.warning("%s", said)

    def _discard(self, path: Path) -> None:
        """Delete a folder after one rename, so that no half-deleted stage is visible."""
        grave = Path(tempfile.mkdtemp(dir=self._trash))
        try:
            os.rename(path, grave / path.name)
        except FileNotFoundError:
            pass
        shutil.rmtree(grave, ignore_errors=True)


@contextmanager
def full_disk_explained(where: str | Path, key: str = "store") -> Iterator[None]:
    """Turn "no space left" inside the block into a UserError that says what to do.

    key: the option that chooses another place, `store` or `cache`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = _prune(where) if key == "store" else "freeing some"
        raise UserError(
            f"{key}={where}: must have room, and the disk is full; try {free} or another {key}=, "
            "then the same command again: it resumes"
        ) from error


def _prune(root: str | Path) -> str:
    return shell.search("store", "prune", "--store", str(root))
