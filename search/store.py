"""The stage store: key -> directory. It is the truth about what was trained; trackers mirror it.

    store = StageStore("runs/store")
    if lock := store.lock(key):             # None: another search trains this stage just now
        with lock:
            train(out_dir=store.part(key))  # kept when interrupted, with its checkpoint
            store.commit(key, {"spec": asdict(spec), ...})  # manifest last, then one rename

    ROOT/STORE.json            format of everything inside
    ROOT/KEY/manifest.json     a finished stage: the directory has its name only once complete
    ROOT/KEY.part/             work in progress, or what an interrupted stage left
    ROOT/.locks/KEY            flock of whoever trains it; the kernel lets go on SIGKILL
    ROOT/.trash/               on its way out

ROOT is a local or shared path (NFS with locks: version 4, or 3 with lockd), optionally file://.
By hand: python -m search.store list|verify|prune --store ROOT
"""

import argparse
import errno
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.durable import TEMPORARY, sync, sync_files, write_json
from search.lock import Lock, flock
from trainables.errors import UserError
from trainables.spec import FORMAT, digest

log = logging.getLogger(__name__)
MANIFEST, STAMP, PART = "manifest.json", "STORE.json", ".part"


class StageStore:
    """Finished stages by key, work in progress beside them. Safe against SIGKILL and rivals."""

    def __init__(self, root: str | Path) -> None:
        place = str(root).removeprefix("file://")
        if "://" in place:
            raise UserError(
                f"store {root}: stages are trained and read in place, so a store is a folder on a "
                "local or shared disk; mount the bucket and give its path as store="
            )
        self.root = Path(place).absolute()
        self._locks, self._trash = self.root / ".locks", self.root / ".trash"
        self._rates: dict[str, float | None] = {}
        try:
            for folder in (self._locks, self._trash):
                folder.mkdir(parents=True, exist_ok=True)
            if not (self.root / STAMP).exists():
                write_json(self.root / STAMP, {"format": FORMAT})
        except OSError as error:
            raise UserError(f"store {self.root}: {error.strerror}; give another store=") from None
        self._check_format()

    def keys(self) -> list[str]:
        """Finished stages, sorted; one directory listing, no manifest is read."""
        with os.scandir(self.root) as entries:
            names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
        return sorted(name for name in names if not name.endswith(PART))

    def manifest(self, key: str) -> dict[str, Any] | None:
        """What is known of a finished stage; None unless it is finished."""
        try:
            found = json.loads((self.path(key) / MANIFEST).read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            log.warning("stage %s: its manifest can't be read (%s); trained again", key, error)
            return None
        return found if isinstance(found, dict) else None

    def rate(self, key: str) -> float | None:
        """The learning rate that a finished stage chose; None unless it is finished."""
        if key not in self._rates:
            if (manifest := self.manifest(key)) is None:
                return None
            self._rates[key] = manifest["result"].get("lr")
        return self._rates[key]

    def path(self, key: str) -> Path:
        """Where the finished stage lies, or would lie."""
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", key), key
        return self.root / key

    def part(self, key: str) -> Path:
        """The working directory of an unfinished stage, with what an interrupted try left."""
        part = self.path(key).with_name(key + PART)
        part.mkdir(exist_ok=True)
        return part

    def lock(self, key: str, wait: float | None = 0.0) -> Lock | None:
        """The right to train `key`; None if another holds it after `wait` seconds (None: ever)."""
        return flock(self._locks / self.path(key).name, wait)

    def commit(self, key: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Finish a stage from its part directory; a finished one stays and ours is dropped.

        The caller holds the lock. Returns the manifest that stands, with `files` (name -> bytes)
        added to what came.
        """
        part, final = self.path(key).with_name(key + PART), self.path(key)
        if (standing := self.manifest(key)) is not None:
            self._discard(part)
            return standing
        if final.exists():
            self._discard(final)  # damaged: it has no readable manifest
        for stale in (part / MANIFEST, *part.glob(f"{TEMPORARY}*")):
            stale.unlink(missing_ok=True)  # of a commit that was cut short
        with full_disk_explained(f"store {self.root}"):
            whole = {**manifest, "files": sync_files(part)}
            write_json(part / MANIFEST, whole)
            sync(part)
            os.rename(part, final)
            sync(self.root)
        standing = self.manifest(key)
        assert standing is not None, key
        return standing

    def verify(self) -> list[str]:
        """One line for everything that is not as it was committed."""
        return [f"{key}: {problem}" for key in self.keys() for problem in self._problems(key)]

    def orphans(self) -> list[str]:
        """Keys with a part directory that nobody is working on."""
        parts = [path.name.removesuffix(PART) for path in self.root.glob(f"*{PART}")]
        return sorted(key for key in parts if self._free(key))

    def prune(self, keep: Collection[str] | None = None) -> list[str]:
        """Remove orphaned part directories and, if `keep` is given, finished stages not in it."""
        doomed = [self.path(key).with_name(key + PART) for key in self.orphans()]
        if keep is not None:
            doomed += [self.path(key) for key in self.keys() if key not in keep]
        removed = []
        for path in doomed:
            if held := self.lock(path.name.removesuffix(PART)):
                with held:
                    self._discard(path)
                removed.append(path.name)
        for leftover in self._trash.iterdir():
            shutil.rmtree(leftover, ignore_errors=True)
        return removed

    def check_space(self, bytes_needed: int) -> None:
        """UserError if the store's disk has less free than that."""
        free = shutil.disk_usage(self.root).free
        if free < bytes_needed:
            raise UserError(
                f"store {self.root}: {free / 1e9:.1f} GB free, about {bytes_needed / 1e9:.1f} GB "
                "needed; free some (python -m search.store prune) or give another store="
            )

    def _check_format(self) -> None:
        try:
            found = json.loads((self.root / STAMP).read_bytes())["format"]
        except (ValueError, KeyError, TypeError):
            found = "unreadable"
        if found != FORMAT:
            raise UserError(
                f"store {self.root}: written in format {found}, this version writes {FORMAT}; "
                "give another store="
            )

    def _free(self, key: str) -> bool:
        held = self.lock(key)
        if held:
            held.release()
        return held is not None

    def _problems(self, key: str) -> Iterator[str]:
        manifest = self.manifest(key)
        if manifest is None:
            yield f"no readable {MANIFEST}"
            return
        for name, size in manifest.get("files", {}).items():
            path = self.path(key) / name
            if not path.is_file():
                yield f"{name} is missing"
            elif path.stat().st_size != size:
                yield f"{name} has {path.stat().st_size} bytes, {size} were committed"
        if not key.endswith(f"-{digest(manifest.get('spec'))}"):
            yield "its specification does not hash to its key"

    def _discard(self, path: Path) -> None:
        """Away in one rename, so that no half-deleted stage is ever seen."""
        grave = Path(tempfile.mkdtemp(dir=self._trash))
        try:
            os.rename(path, grave / path.name)
        except FileNotFoundError:
            pass
        shutil.rmtree(grave, ignore_errors=True)


@contextmanager
def full_disk_explained(where: str | Path, key: str = "store") -> Iterator[None]:
    """Turns "no space left" inside the block into a UserError that says what to do.

    key: what names another place on the command line.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = "free some (python -m search.store prune)" if key == "store" else "free some"
        raise UserError(
            f"{where}: the disk is full; {free} or give another {key}=, then run the same command "
            "again: it resumes"
        ) from error


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.store", description="Look after a store"
    )
    parser.add_argument("action", choices=("list", "verify", "prune"))
    parser.add_argument("--store", required=True, help="the store's directory")
    chosen = parser.parse_args(argv)
    if not (Path(chosen.store) / STAMP).exists():
        sys.stderr.write(f"store {chosen.store}: no {STAMP} in it, so it is no store\n")
        return 2
    try:
        store = StageStore(chosen.store)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    lines = {"list": store.keys, "verify": store.verify, "prune": store.prune}[chosen.action]()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(chosen.action == "verify" and bool(lines))


if __name__ == "__main__":
    sys.exit(main())
