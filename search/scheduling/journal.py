"""The journal: one line for every node asked and told, from which a search resumes.

    journal = Journal(out, plan.identity())
    asked, told, stops = journal.replay()
    journal.asked(node)
    journal.told(node, score)           # or journal.stopped(node, stop)

Results live in the stage store; the journal keeps the order of a policy's decisions. Its name
hashes the search's identity, so another space in the same folder starts its own. Every line is on
disk before the search goes on; a last line that a kill cut short is removed.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path

from filelock import Timeout

from search.chains.chain import repeats_a_task
from search.chains.node import Node
from search.scheduling.early_stopping import Stop
from trainables.durable import kernel_lock, make_folder, refused, sync
from trainables.errors import UserError, first_line
from trainables.spec import Score, digest

log = logging.getLogger(__name__)
LOCK = ".lock"  # of the folder
PATIENCE = 120.0  # seconds to wait for it


@dataclass(frozen=True)
class Event:
    """One line: a node that was asked, scored or stopped."""

    node: Node
    score: Score | None
    stop: Stop | None

    @classmethod
    def parse(cls, line: bytes) -> "Event":
        """Read one line; ValueError, KeyError or TypeError if it is no event."""
        found = json.loads(line)
        node, score, stop = Node.parse(found["proposal"]), found.get("score"), found.get("stop")
        if repeats_a_task(node.chain):
            raise ValueError(f"{node}: must be different tasks")
        return cls(
            node,
            Score.parse(score) if score else None,
            Stop(**stop) if stop else None,
        )


class Journal:
    """One file, `journal-<digest of the search>.jsonl`, appended to."""

    def __init__(self, out: Path, identity: Mapping[str, object]) -> None:
        self.path = out / f"journal-{digest(identity)}.jsonl"
        make_folder("--out", out)
        try:
            self.path.touch()
            sync(out)
        except OSError as error:
            raise refused("--out", out, error.strerror) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other searches out of the folder for the block; UserError if one runs there.

        A file server may hold the lock of a machine that died for some time.
        """
        lock, out = kernel_lock(self.path.with_name(LOCK)), self.path.parent
        try:
            with suppress(Timeout):
                lock.acquire(timeout=0)
            if not lock.is_locked:
                log.warning("--out=%s: in use by another search; waiting for it", out)
                lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise UserError(
                f"--out={out}: must be a folder in which no other search runs; try another --out, "
                "or wait for its end"
            ) from None
        except (OSError, NotImplementedError) as error:
            raise refused("--out", out, f"no lock: {first_line(error)}") from None
        try:
            yield
        finally:
            lock.release()

    def replay(self) -> tuple[list[Node], dict[Node, Score], dict[Node, Stop]]:
        """Return the nodes asked, the scores told, and the stops of nodes without a score.

        Failures are left out, to be tried again.
        """
        asked: dict[Node, None] = {}
        told: dict[Node, Score] = {}
        stops: dict[Node, Stop] = {}
        for event in self._events():
            asked[event.node] = None
            if event.score:
                told[event.node] = event.score
                stops.pop(event.node, None)
            elif event.stop:
                stops[event.node] = event.stop
        return list(asked), told, stops

    def asked(self, node: Node) -> None:
        self._append(node)

    def told(self, node: Node, score: Score | None) -> None:
        self._append(node, score=score)

    def stopped(self, node: Node, stop: Stop) -> None:
        self._append(node, stop=stop)

    def _append(self, node: Node, **end: Score | Stop | None) -> None:
        values = {kind: asdict(value) if value else None for kind, value in end.items()}
        line = json.dumps({"proposal": str(node), **values}).encode() + b"\n"
        with open(self.path, "ab+") as file:
            _cut_to_last_newline(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _events(self) -> Iterator[Event]:
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                yield Event.parse(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("%s, row %d: cannot be read (%s); skipped", self.path, number, error)


def _cut_to_last_newline(file: BufferedRandom) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read(1) not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
