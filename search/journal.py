"""What a search asked and was told, a line each: an interrupted one goes on as if it never was.

    journal = Journal(out, plan.identity())
    policy.resume(*journal.replay())
    journal.asked(proposal)
    journal.told(proposal, score)           # or journal.stopped(proposal, stop)

Results live in the stage store; the journal keeps the order of a policy's decisions. It is named
by what is searched, so another space in the same folder starts its own.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.proposal import Proposal
from search.stopping import Stop
from trainables.errors import UserError
from trainables.spec import Score, digest


class Journal:
    """One file, `journal-<digest of the search>.jsonl`, appended to."""

    def __init__(self, out: Path, identity: dict[str, Any]) -> None:
        self.path = out / f"journal-{digest(identity)}.jsonl"
        try:
            out.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise UserError(
                f"--out {out}: {error.strerror}; want a folder that can be written to"
            ) from None

    def replay(self) -> tuple[list[Proposal], dict[Proposal, Score | None]]:
        """All that was asked, and what was told of it; failures are forgotten and tried again."""
        asked: dict[Proposal, None] = {}
        told: dict[Proposal, Score | None] = {}
        for event in self._events():
            proposal = Proposal.parse(event["proposal"])
            asked[proposal] = None
            if event.get("score"):
                told[proposal] = Score(**event["score"])
        return list(asked), told

    def stops(self) -> dict[Proposal, Stop]:
        """What was stopped and has got no score since."""
        found: dict[Proposal, Stop] = {}
        for event in self._events():
            proposal = Proposal.parse(event["proposal"])
            if event.get("score"):
                found.pop(proposal, None)
            elif event.get("stop"):
                found[proposal] = Stop(**event["stop"])
        return found

    def asked(self, proposal: Proposal) -> None:
        self._append({"proposal": str(proposal)})

    def told(self, proposal: Proposal, score: Score | None) -> None:
        self._append({"proposal": str(proposal), "score": asdict(score) if score else None})

    def stopped(self, proposal: Proposal, stop: Stop) -> None:
        self._append({"proposal": str(proposal), "stop": asdict(stop)})

    def _append(self, event: dict[str, Any]) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(event) + "\n")

    def _events(self) -> list[dict[str, Any]]:
        """Whole lines only: the last one may have been cut by a kill."""
        if not self.path.exists():
            return []
        lines = self.path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]
