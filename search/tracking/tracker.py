"""The tracker as the driver's thread knows it: it is told, and what it is told goes on elsewhere.

    tracker = Tracker(uri=None, experiment="isic3", out=out, share_images=None)
    tracker.check()                    # UserError; creates nothing, so a dry run does it too
    tracker.connect()                  # UserError; the last call that may raise or wait for MLflow
    tracker.start(plan, info)
    tracker.update(results, fresh, store)
    tracker.mirror(table, plan, info, summary, store, out)     # the whole again, then the end

A thread of its own talks to MLflow (outbox.py), so a slow or dead server delays no training, and
`mirror` sends whatever was lost on the way.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.chains.chain import Chain
from search.chains.plan import Plan
from search.report import table as rows
from search.report.stored import Store
from search.report.table import Row, Table
from search.results.records import ChainResult, RunInfo
from search.tracking import sharing
from search.tracking.check import check
from search.tracking.mirror import Ending, Mirror
from search.tracking.outbox import Outbox
from search.tracking.uri import Address

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds without an answer at the end
HURRIED = 15.0  # the same after an interrupt: a job that is told to end is soon killed
SLOWEST = 500_000  # bytes a second that an upload may take


@dataclass(frozen=True)
class News:
    """A search as of now; `fresh` are the chains that the tracker does not know yet."""

    plan: Plan
    info: RunInfo
    results: tuple[ChainResult, ...] = ()
    fresh: frozenset[Chain] = frozenset()
    store: Store | None = None
    ending: Ending | None = None


class Tracker:
    """One search in one MLflow experiment.

    uri: None: MLFLOW_TRACKING_URI, else mlflow.db in the current directory.
    share_images: None: see sharing.py.
    """

    def __init__(
        self, uri: str | None, experiment: str, out: Path, share_images: bool | None
    ) -> None:
        self.address, self.experiment = Address.of(uri), experiment
        level = sharing.level(self.address, share_images)
        self._mirror = Mirror(self.address, experiment, out, level)
        self._outbox = Outbox(self._send, _merge, str(self.address))
        self._begun: News | None = None

    @property
    def command(self) -> str:
        """What shows this tracker in a browser."""
        if self.address.http:
            return f"open {self.address}"
        return (
            f"mlflow ui --backend-store-uri {self.address}" if self.address.where else "mlflow ui"
        )

    def check(self) -> None:
        """UserError if the tracker can't be used; creates nothing and imports no mlflow."""
        check(self.address, self.experiment)

    def connect(self) -> None:
        """Create what is missing; UserError if the tracker can't be used."""
        self.check()
        self._mirror.connect()

    def start(self, plan: Plan, info: RunInfo) -> None:
        """The search begins."""
        self._begun = News(plan, info)
        self._outbox.put(self._begun)

    def update(
        self, results: tuple[ChainResult, ...], fresh: frozenset[Chain], store: Store
    ) -> None:
        """All results so far, of which the `fresh` chains have a new score."""
        assert self._begun is not None, "start() comes first"
        self._outbox.put(replace(self._begun, results=results, fresh=fresh, store=store))

    def mirror(
        self,
        table: Table,
        plan: Plan,
        info: RunInfo,
        summary: Mapping[str, Any],
        store: Store,
        out: Path,
    ) -> None:
        """The search has ended: send all of it, and wait for that as long as something answers."""
        news = News(plan, info, store=store, ending=Ending(table, summary, out))
        sizes = (p.stat().st_size for part in ("best", "report") for p in (out / part).glob("*"))
        patience = HURRIED if info.interrupted else PATIENCE + sum(sizes) / SLOWEST
        if not self._outbox.last(news, patience):
            log.warning(
                "tracking at %s: not everything was sent; the same command run again sends it",
                self.address,
            )

    def _send(self, news: News) -> Iterator[None]:
        """In the thread: one step an answer."""
        mirror = self._mirror
        try:
            if news.ending or not mirror.started:
                mirror.start(news.plan, news.info)
                yield
            for row in _rows(news):
                assert news.store is not None
                mirror.log_chain(row, news.store)
                yield
            if news.ending:
                yield from mirror.finish(news.ending, news.info)
        except Exception:
            mirror.forget()
            raise


def _merge(older: News, newer: News) -> News:
    return replace(newer, fresh=older.fresh | newer.fresh, store=newer.store or older.store)


def _rows(news: News) -> Sequence[Row]:
    """The chains to log: all at the end, else the fresh ones, whose deltas need the singles."""
    if news.ending:
        return news.ending.table.rows
    if not news.fresh or news.store is None:
        return ()
    asked = [r for r in news.results if r.chain in news.fresh or len(r.chain) == 1]
    built = rows.build(asked, news.store)
    return [row for row in built.scored if (row.tasks or (row.chain,)) in news.fresh]
