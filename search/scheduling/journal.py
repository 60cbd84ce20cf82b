"""What a search asked and was told, a line each: an interrupted one goes on as if it never was.

    journal = Journal(out, plan.identity())
    policy.resume(*journal.replay())
    journal.asked(proposal)
    journal.told(proposal, score)           # or journal.stopped(proposal, stop)

Results live in the stage store; the journal keeps the order of a policy's decisions. It is named
by what is searched, so another space in the same folder starts its own. Every line is on the disk
before the search goes on; a last line that a kill cut short is dropped.
"""

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

from search.chains.node import Proposal
from search.scheduling.early_stopping import Stop
from trainables.durable import sync
from trainables.errors import UserError
from trainables.spec import Score, digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """One line: a proposal that was asked for, scored, or stopped."""

    proposal: Proposal
    score: Score | None
    stop: Stop | None

    @classmethod
    def parse(cls, line: bytes) -> "Event":
        """ValueError, KeyError or TypeError if it is no event."""
        found = json.loads(line)
        score, stop = found.get("score"), found.get("stop")
        return cls(
            Proposal.parse(found["proposal"]),
            Score(**score) if score else None,
            Stop(**stop) if stop else None,
        )


class Journal:
    """One file, `journal-<digest of the search>.jsonl`, appended to."""

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.path = out / f"journal-{digest(identity)}.jsonl"
        try:
            out.mkdir(parents=True, exist_ok=True)
            self.path.touch()
            sync(out)
        except OSError as error:
            raise UserError(
                f"--out={out}: must be a folder to write to ({error.strerror}); try another --out"
            ) from None

    def replay(self) -> tuple[list[Proposal], dict[Proposal, Score | None]]:
        """All that was asked, and what was told of it; failures are forgotten and tried again."""
        asked: dict[Proposal, None] = {}
        told: dict[Proposal, Score | None] = {}
        for event in self._events():
            asked[event.proposal] = None
            if event.score:
                told[event.proposal] = event.score
        return list(asked), told

    def stops(self) -> dict[Proposal, Stop]:
        """What was stopped and has got no score since."""
        found: dict[Proposal, Stop] = {}
        for event in self._events():
            if event.score:
                found.pop(event.proposal, None)
            elif event.stop:
                found[event.proposal] = event.stop
        return found

    def asked(self, proposal: Proposal) -> None:
        self._append({"proposal": str(proposal)})

    def told(self, proposal: Proposal, score: Score | None) -> None:
        self._append({"proposal": str(proposal), "score": asdict(score) if score else None})

    def stopped(self, proposal: Proposal, stop: Stop) -> None:
        self._append({"proposal": str(proposal), "stop": asdict(stop)})

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps(event).encode() + b"\n"
        with open(self.path, "ab+") as file:
            _drop_cut_line(file)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _events(self) -> Iterator[Event]:
        """What can be read, in order."""
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                yield Event.parse(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("%s, row %d: cannot be read (%s); skipped", self.path, number, error)


def _drop_cut_line(file: BufferedRandom) -> None:
    """Cut the file after its last newline."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    if file.read(1) not in (b"", b"\n"):
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
