"""The tracker's interface for the driver's thread; no call waits for a server.

    tracker = Tracker(uri=None, experiment="isic3", out=out, share_images=None)
    tracker.check()                    # UserError; creates nothing, used by the dry run too
    tracker.connect()                  # UserError; the last call that may raise or wait
    tracker.start(plan, info)
    tracker.update(results, fresh, store)
    tracker.mirror(table, plan, info, summary, store, out)     # everything again, then the end

Another thread talks to MLflow (outbox.py), so a slow or dead server delays no training, and
`mirror` sends again what was lost. That thread gets rows and curves, never the store: reading a
damaged stage there would change what the search does next.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from search import shell
from search.chains.chain import Chain
from search.chains.plan import Plan
from search.report import points, rows
from search.report.stored import Store
from search.report.table import Row, Table
from search.results.records import ChainResult, RunInfo
from search.tracking import sharing
from search.tracking.check import check
from search.tracking.mirror import Mirror
from search.tracking.outbox import Outbox
from search.tracking.uri import Address

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds without an answer at the end
HURRIED = 15.0  # the same after an interrupt, since schedulers soon kill the job
SLOWEST = 500_000  # bytes a second of the slowest upload allowed for
Chains = Mapping[str, tuple[Row, tuple[points.Point, ...]]]  # chain -> its row and its curves


@dataclass(frozen=True)
class Update:
    """What is to be sent of a search: its start, chains by name, and its end if it has a table."""

    plan: Plan
    info: RunInfo
    chains: Chains = field(default_factory=dict)
    table: Table | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)


class Tracker:
    """One search in one MLflow experiment.

    uri: None for MLFLOW_TRACKING_URI, else mlflow.db in the current directory. share_images: see
    sharing.py.
    """

    def __init__(
        self, uri: str | None, experiment: str, out: Path, share_images: bool | None
    ) -> None:
        self.address, self.experiment = Address.of(uri), experiment
        level = sharing.level(self.address, share_images)
        self._mirror = Mirror(self.address, experiment, out, level)
        self._outbox = Outbox(self._send, _merge, str(self.address))
        self._begun: Update | None = None

    @property
    def command(self) -> str:
        """Return the command that shows this tracker in a browser."""
        if self.address.http:
            return f"open {self.address}"
        where = ["--backend-store-uri", str(self.address)] if self.address.where else []
        return shell.typed("mlflow", "ui", *where)

    def check(self) -> None:
        """Raise UserError if the tracker is unusable; creates nothing, imports no mlflow."""
        check(self.address, self.experiment)

    def connect(self) -> None:
        """Create database and experiment if needed; UserError if the tracker is unusable."""
        self.check()
        self._mirror.connect()

    def start(self, plan: Plan, info: RunInfo) -> None:
        """Send the start of the search."""
        self._begun = Update(plan, info)
        self._outbox.put(self._begun)

    def update(
        self, results: tuple[ChainResult, ...], fresh: frozenset[Chain], store: Store
    ) -> None:
        """Send the fresh chains, those with a new score. results: theirs and all singles'."""
        assert self._begun is not None, "start() comes first"
        built = rows.build(results, store, self._begun.plan.objective)
        shown = [row for row in built.scored if row.path in fresh]
        sent = _with_curves(replace(built, rows=tuple(shown)), store)
        self._outbox.put(replace(self._begun, chains=sent))

    def mirror(
        self,
        table: Table,
        plan: Plan,
        info: RunInfo,
        summary: Mapping[str, Any],
        store: Store,
        out: Path,
    ) -> None:
        """Send everything at the end of the search; wait while the server answers."""
        update = Update(plan, info, _with_curves(table, store), table, summary)
        sizes = (p.stat().st_size for part in ("best", "report") for p in (out / part).glob("*"))
        patience = HURRIED if info.interrupted else PATIENCE + sum(sizes) / SLOWEST
        if not self._outbox.last(update, patience):
            log.warning(
                "tracking at %s: not everything was sent; the same command run again sends it",
                self.address,
            )

    def _send(self, update: Update) -> Iterator[None]:
        """Send one update, in the outbox's thread; yields after every answer."""
        mirror = self._mirror
        try:
            if update.table or not mirror.started:
                mirror.start(update.plan, update.info)
                yield
            for row, curves in update.chains.values():
                mirror.log_chain(row, curves)
                yield
            if update.table:
                yield from mirror.finish(update.table, update.summary, update.info)
        except Exception:
            mirror.forget()
            raise


def _merge(older: Update, newer: Update) -> Update:
    return replace(newer, chains={**older.chains, **newer.chains})


def _with_curves(table: Table, store: Store) -> Chains:
    name = table.objective.name
    return {row.chain: (row, tuple(points.curves(row, store, name))) for row in table.rows}
