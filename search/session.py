"""One search, from a request to the report.

session = Session(request, screen, time.monotonic())
session.check()     # returns the forecast; creates nothing
session.understand() # decodes the images of a dry run
session.estimate()  # of the wall time; may time ten steps
session.search()    # returns the summary
"""

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.chains.chain import Chain
from search.chains.given import backbone_bytes, digest_of
from search.chains.node import Node
from search.chains.plan import Plan
from search.cluster import environment
from search.cluster.start import join, size
from search.cluster.time_ledger import Overhead, summarise
from search.console import exit
from search.console.request import Request, data_name
from search.console.understood import Understood
from search.images import Digests, Images
from search.policies import policy_of
from search.report import duplicates, left_out, published
from search.results.collect import Collector, snapshot
from search.results.records import Pool, RunInfo
from search.scheduling import finals
from search.scheduling.cost import surely_short
from search.scheduling.estimate import Estimate, Here, estimate
from search.scheduling.forecast import Forecast, forecast
from search.scheduling.journal import Journal
from search.scheduling.scheduler import Scheduler
from search.space import Space, check_plugins, hardware
from search.space.budget import Meter
from search.space.schema import TIMM
from search.store.stage_store import StageStore, full_disk_explained
from trainables.errors import MachineFault
from trainables.processor import cores
from trainables.spec import FEATURES

if TYPE_CHECKING:
    from search.cluster.connection import Cluster
    from search.cluster.engine import Engine
    from search.console.progress import Show
    from search.console.screen import Screen
    from trainables.images.cache import Prepared

log = logging.getLogger(__name__)
FETCHED = ".weights"  # folder in the store, which all nodes see
CHECKPOINTS = 16  # backbones that a running search may need for its checkpoints


class Session:
    """The state of one search.

    started: `time.monotonic()` at the command's start. cluster: if it is joined already.
    """

    def __init__(
        self, request: Request, screen: "Screen", started: float, cluster: "Cluster | None" = None
    ) -> None:
        self.request, self.space, self.out = request, request.space, request.out
        self.screen, self.started, self.cluster = screen, started, cluster
        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        self.engine: Engine | None = None
        self.published, self.told = -1, set[Node]()  # what view and tracker know
        self.meter = Meter(self.space.budget, started)
        rates = {name: min(map(len, both)) for name, both in self.space.ranges.items()}
        self.policy = policy_of(self.space, rates)
        self.device = hardware.describe({"CPU": cores(), "GPU": request.gpus})

    def check(self) -> Forecast:
        """Return what the search will train; UserError if it can't be searched.

        Creates nothing but timm's weights in the store, where a start names them.

        The dry run and the search both begin with it, so neither takes what the other refuses.
        """
        from search.store.places import check_writable, stamped
        from search.tracking.tracker import Tracker
        from trainables.downstream import vectors
        from trainables.preflight import check_backbone, check_gpus, check_trainable

        space, request = self.space, self.request
        check_plugins(space)
        published.read(space)
        for where, folder in (("store", space.store), ("cache", space.cache), ("--out", self.out)):
            check_writable(where, Path(folder))
        stamped(Path(space.store))
        check_backbone(space.profile.backbone, space.profile.image_size)
        check_trainable(space.profile.backbone, space.starts)
        self.space = space = self._with_files(space)
        files = {name: one.weights for name, one in space.starts.items() if one.weights}
        self.weights = {name: digest_of(name, path) for name, path in files.items()}
        named = space.baselines.features.items()
        self.features = {name: digest_of(name, path, FEATURES) for name, path in named}
        if request.address is None:
            check_gpus(request.gpus, space.profile.precision)
        images = space.report.share_images
        self.tracker = Tracker(request.tracking_uri, space.name, self.out, images)
        self.tracker.check()
        self.images = Images(space)
        for name, path in named:
            self.screen.say(vectors.check(Path(path), name, self.images.source))
        if not len(self.images.source.split["test"]):  # as a published protocol may have it
            self.space = space = replace(space, test=False)
        pool = self.images.pool
        more = pool.sizes.images if pool else 0
        elsewhere = {name: len(one.table.names) for name, one in self.images.external.items()}
        self.forecast = forecast(space, self.policy, self.images.check(), more, elsewhere)
        # without the images' digests
        masks = "" if self.images.masked else None
        none = dict.fromkeys(space.external, "")
        self.plan = self._plan(Digests("", none, None if pool is None else "", masks))
        return self.forecast

    def _plan(self, read: Digests) -> Plan:
        counts = self.forecast.counts
        files = self.weights, read.external, read.pool, self.features
        return Plan(self.space, read.images, *files, counts.images, counts.pool, read.masks)

    def _with_files(self, space: Space) -> Space:
        """Return the space with a file for every start of timm's; say how each file is read."""
        from trainables.kinds.start import check, fetched

        starts, backbone = dict(space.starts), space.profile.backbone
        for name, one in starts.items():
            if one.weights == TIMM:
                file = fetched(name, backbone, Path(space.store) / FETCHED)
                starts[name] = replace(one, weights=str(file))
            if path := starts[name].weights:
                digest_of(name, path)  # UserError if it can not be read
                self.screen.say(check(Path(path), name, backbone, space.data.channels))
        return replace(space, starts=starts)

    def estimate(self, done: Collection[str] = ()) -> Estimate:
        """Estimate the wall time; times ten steps of what has no rate here. Creates nothing.

        done: keys of finished stages.
        """
        here = Here.machine(self.request.gpus, self.request.address is None)
        if self.cluster:
            here = Here(self.cluster.nodes(), alone=False)
        decoding = self.images.decoding_seconds()
        return estimate(self.plan, self.forecast, here, decoding, done, self.images.side)

    def search(self) -> Mapping[str, Any]:
        """Train what is missing, write the report and return the summary.

        Its `incomplete` is the fault of the machine that ended the search, "" if there was none.
        """
        environment.prepare(self.request.address)  # the policy may import Ray
        with self.screen.busy("checking settings and images, estimating the time"):
            self.check()
            self.store = StageStore(self.space.store)
            self.plan = self._plan(self.images.digests())
            expected = self._expected()
        self.screen.begins(self.plan, expected, self.request.given)
        self._check_room()
        journal = Journal(self.out, self.plan.identity())
        with journal.alone():
            return self._searched(journal)

    def _searched(self, journal: Journal) -> Mapping[str, Any]:
        """Train what is missing and write the report."""
        with full_disk_explained(self.space.store):
            self.scheduler = Scheduler(
                self.plan, self.policy, journal, self.store, self.meter.spent
            )
            before, ready = set(self.store.keys()), self.scheduler.next()
        with self._engine() if ready else nullcontext() as self.engine:
            self.tracker.connect()  # while the worker groups come up
            self._decode()
            try:
                if self.engine and ready:
                    self._train(self.engine, ready)
            except KeyboardInterrupt:
                exit.heard()
                self._report(before, interrupted=True)
                raise
            except MachineFault as fault:
                exit.heard()
                return self._report(before, incomplete=str(fault))
            return self._report(before)

    def _expected(self) -> Estimate | None:
        """Estimate the wall time, unless it is short on any machine."""
        done = self.store.keys()
        short = surely_short(self.plan, self.forecast.counts, done)
        return None if short else self.estimate(done)

    @property
    def listed(self) -> bool:
        """Whether the images are listed, though perhaps not yet checked or decoded."""
        return hasattr(self, "images")

    def understand(self) -> Understood:
        """Decode all images into the cache and write what they were understood to be.

        Demonstration images are drawn: there is nothing to understand, and nothing is written.
        """
        if self.space.data.name != "demo":
            self.images.decode(self.screen.console)
            return replace(self.images.understood, page=self._write_images())
        return self.images.understood

    def _decode(self) -> None:
        if self.images.decoded:
            return
        self.images.decode(self.screen.console)
        for text in self.images.summary():
            self.screen.say(text)
        self._write_images()

    def _write_images(self) -> Path:
        """Write all names that are left out or near-duplicates, and return the images' page."""
        from search.report.page import images as page

        images, folder = self.images, self.out / "report"
        duplicates.write(images.data, folder)
        left_out.write(images.left_out, folder)
        return page.write(images.understood, images.data, self.space.data, folder)

    def _check_room(self) -> None:
        """Check the room for the backbones of all stages and scores, and for some checkpoints."""
        again = (self.space.max_length + 1) * sum(self.forecast.repeats)
        starts = self.space.repeats * len(self.plan.baselines())
        final = sum(finals.planned(self.space, self.plan.pool is not None))
        files = 2 * self.forecast.stages_maximum + starts + again + final + CHECKPOINTS
        self.store.check_space(files * backbone_bytes(self.space.profile.backbone))

    def _engine(self) -> "Engine":
        """Return Ray with its worker groups; UserError if none fits."""
        self.cluster = self.cluster or join(None)
        from search.cluster.engine import Engine  # after `join`, which prepares Ray's environment

        wanted = self.forecast.stages_maximum + len(self.plan.baselines())
        sized = size(self.plan, wanted, self.cluster, self._decode)
        self.screen.groups(sized)
        self.device = sized.device
        running = Engine(self.plan, sized.shape, self.cluster.namespace, self.out)
        self.meter.gpus = sized.shape.workers * sized.shape.gpus
        self.meter.leased = lambda: running.status.leased
        return running

    def _train(self, engine: "Engine", ready: Node) -> None:
        from search.console.progress import Show

        self.tracker.start(self.plan, self._info(set()))
        with self.screen.view(self.forecast.chains, self.space.baseline_names) as view:
            show = Show(view, self.meter, snapshot(self.scheduler))
            engine.run(self.scheduler, ready, lambda: self._publish(show), show)

    def _publish(self, show: "Show") -> None:
        """Give view and tracker frozen records of what changed; on the driver's thread."""
        if self.published == self.scheduler.changes:
            return
        self.published = self.scheduler.changes
        show.snapshot = snapshot(self.scheduler)
        if fresh := set(self.scheduler.scores) - self.told:
            self.told |= fresh
            chains = {node.chain for node in fresh}
            judged_by = {chain for chain in self.space.chains() if len(chain.tasks) == 1}
            judged_by |= {Chain((), name) for name in self.space.baseline_names}
            results = Collector(self.scheduler, {*chains, *judged_by}).results()
            self.tracker.update(tuple(results), frozenset(chains), self.store)

    def _report(
        self, before: Collection[str], interrupted: bool = False, incomplete: str = ""
    ) -> Mapping[str, Any]:
        """Write the report. before: keys that were finished when the command started."""
        from search import report

        outcome = Collector(self.scheduler)
        info = self._info(outcome.stages() - set(before), interrupted, incomplete)
        results, objective = outcome.results(), self.plan.objective
        wanted = [*map(self.plan.measures.__getitem__, self.plan.shown)]
        table = report.build(results, self.store, objective, info.best_chain, wanted)
        found = report.write(table, self.plan, info, self.store, self.out)
        try:
            images = self.images.data, self.images.regions or self._drawn()
            report.illustrate(found, self.plan, self.store, self.out, *images)
        except Exception:  # the numbers are written
            log.exception("figures and page failed")
        summary = found.as_json()
        self.tracker.mirror(table, self.plan, info, summary, self.store, self.out)
        self.screen.ends(found, self.out, self.tracker.command)
        return summary

    def _drawn(self) -> "Prepared | None":
        """Return the masks that a finished stage drew; None if none did."""
        from trainables.images.cache import made_by

        spec = self.plan.drawn()
        return made_by(self.store.path(spec.key())) if spec else None

    def _info(self, trained: set[str], interrupted: bool = False, incomplete: str = "") -> RunInfo:
        space, demo, outcome = self.space, self.forecast.demo, Collector(self.scheduler)
        last, scheduler = self.scheduler.finals(), self.scheduler
        ended = "the search was interrupted" if interrupted else incomplete or scheduler.over
        wall = time.monotonic() - self.started
        return RunInfo(
            space=space.name,
            data="demo" if demo else f"{space.data.name}: {data_name(space)}",
            demo=demo,
            policy=str(space.policy),
            profile=space.profile.name,
            device=self.device,
            stages_trained=len(trained),
            stages_reused=len(outcome.stages() - trained),
            stages_repeats=len(outcome.repeats()),
            stages_pruned=len(scheduler.pruned()),
            stages_naive=self.forecast.stages_naive,
            wall_seconds=wall,
            interrupted=interrupted,
            started=self.began,
            near_duplicates=duplicates.count(self.images.data),
            best_chain=str(last.best.chain) if last.best else None,
            leading_start=str(last.leading_start.chain) if last.leading_start else None,
            fresh_missing=last.fresh_missing(scheduler.reasons, ended or "not trained yet"),
            stopped=scheduler.stopped(),
            budget=str(space.budget),
            budget_spent=scheduler.over != "" and scheduler.over in scheduler.pruned().values(),
            overhead=self._overhead(wall),
            incomplete=incomplete,
            given_split=tuple(sorted({*self.images.source.table.parts} - {""})),
            leak=self.images.data.leak,
            label_curve=outcome.label_curve(),
            external=outcome.external(fresh=True),
            elsewhere=outcome.external(fresh=False),
            pool=self._pool(),
            without_pool=outcome.without_pool(),
        )

    def _pool(self) -> Pool | None:
        if not (found := self.images.pool):
            return None
        left = {why: len(names) for why, names in found.left_out.items()}
        sizes = found.sizes
        return Pool(sizes.labelled, sizes.unlabelled, sizes.unknown, left)

    def _overhead(self, wall: float) -> Overhead | None:
        if self.engine is None:
            return None
        return summarise(self.engine.status.ledger, self.engine.broker_started - self.started, wall)
