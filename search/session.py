"""One search from the command's arguments to the report: the pieces, put together in order.

`Session(args, started)` reads and checks everything; `print_plan` or `search` follow.
"""

import argparse
import logging
import os
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search.chains.chain import BASELINES, name, stages_naive
from search.chains.node import Node
from search.chains.plan import Plan, backbone_bytes, file_digest
from search.cluster import environment
from search.cluster.time_ledger import Overhead, summarise
from search.console import exit
from search.console.printable import line
from search.images import Images
from search.policies import Policy
from search.report import duplicates
from search.results.collect import Collector, snapshot
from search.results.records import RunInfo
from search.scheduling import repeats
from search.scheduling.scheduler import Scheduler
from search.space import Space, check_tasks, hardware, load
from search.space.budget import Budget, Meter
from trainables.errors import MachineFault, UserError
from trainables.plugins import load as plugin
from trainables.processor import cores

if TYPE_CHECKING:
    from search.cluster.engine import Engine
    from search.console.progress import Show
    from search.store.stage_store import StageStore
    from search.tracking.tracker import Tracker

log = logging.getLogger(__name__)
CHECKPOINTS = 16  # backbones that a running search may need for its checkpoints


class Session:
    """The state of one command."""

    weights: str | None  # digest of the ImageNet file
    plan: Plan
    store: "StageStore"
    tracker: "Tracker"
    questions: Scheduler
    images: Images

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        self.args, self.started = args, started
        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.cluster: Any = None
        self.engine: Engine | None = None
        self.published, self.told = -1, set[Node]()  # what view and tracker know
        _check_given(args)
        self.gpus = self._gpus()
        self.space = self._space()
        self.meter = Meter(self.space.budget, started)
        self.policy = self._policy()
        self.device = hardware.describe({"CPU": cores(), "GPU": self.gpus})

    # -- reading ---------------------------------------------------------------------------------

    def _gpus(self) -> int:
        """GPUs of this machine, or of the cluster at the address."""
        if self.args.address is None or self.args.dry_run:
            return hardware.gpus()
        return int(self._connect().get("GPU", 0))

    def _connect(self) -> dict[str, float]:
        environment.prepare(self.args.address)
        from search.cluster.connection import Cluster

        self.cluster = self.cluster or Cluster(self.args.address)
        resources = self.cluster.connect()
        exit.listen()  # Ray puts a handler of its own on SIGTERM
        return resources

    def _space(self) -> Space:
        args = self.args
        overrides = list(args.overrides)
        given = {override.partition("=")[0] for override in overrides}
        if not (args.data or given & {"data", "data.root"}):
            overrides.insert(0, "data=demo")
        if "profile" not in given:
            chosen = hardware.profile(self.gpus, "data=demo" in overrides)
            overrides.insert(0, f"profile={chosen}")
        overrides += [f"policy={args.policy}"] if args.policy else []
        Budget.parse(args.budget)
        overrides += [f"budget={args.budget}"] if args.budget is not None else []
        space = hardware.resolve(load(args.space, overrides), self.gpus)
        root = args.data or space.data.root
        if space.data.name == "demo" and root:
            raise UserError(
                f"--data={root}: must be left out with data=demo, which draws its images; try "
                "data=folder"
            )
        if space.budget.gpu_hours is not None and not self.gpus:
            raise UserError(
                f"budget={space.budget}: must be stages or wall time, as there is no GPU; try 8h"
            )
        return replace(
            space,
            store=os.path.abspath(space.store.removeprefix("file://")),
            cache=os.path.abspath(space.cache.removeprefix("file://")),
            data=replace(space.data, root=root and os.path.abspath(root)),
        )

    def _policy(self) -> Policy:
        space = self.space
        return plugin("search.policies", space.policy.name)(
            tuple(space.tasks), space.max_length, space.budget.stages, space.seed,
            space.policy.params,
            rates={task.name: len(task.lr_range) for task in space.tasks.values()},
        )  # fmt: skip

    @property
    def data_name(self) -> str:
        root = self.space.data.root
        return self.space.data.name if root is None else Path(root).name

    @property
    def out(self) -> Path:
        given = self.args.out or f"runs/{self.space.name}-{self.data_name}"
        return Path(given).absolute()

    def _say(self, text: str) -> None:
        self.console.print(line(text))

    def check(self) -> int:
        """Refuse all that can't be searched, creating nothing; the number of images to train on.

        The dry run and the search both begin with it, so neither takes what the other refuses.
        """
        from search.store.places import check_format, check_writable
        from search.tracking.tracker import Tracker
        from trainables.preflight import check_backbone, check_gpus

        space = self.space
        check_tasks(space)
        for where, folder in (("store", space.store), ("cache", space.cache), ("--out", self.out)):
            check_writable(where, Path(folder))
        check_format(Path(space.store))
        self.weights = self._weights()
        check_backbone(space.profile.backbone, space.data.channels, space.baselines.imagenet)
        if self.args.address is None:
            check_gpus(self.gpus, space.profile.precision)
        share = space.report.share_images
        self.tracker = Tracker(self.args.tracking_uri, space.name, self.out, share)
        self.tracker.check()
        self.images = Images(space)
        return self.images.check()

    # -- the plan --------------------------------------------------------------------------------

    def print_plan(self) -> None:
        from search.console.dry_run import lines

        images = self.check()
        self._say(self._headline())
        self._say(f"data      {self._data_line()}, {images} images to train on")
        for said in lines(self.space, self.policy, images):
            self._say(said)
        self._say("nothing was trained (--dry-run)")

    def _headline(self) -> str:
        profile = self.space.profile
        return (
            f"{self.space.name}: {', '.join(self.space.tasks)}; profile {profile.name} "
            f"({profile.backbone}, {profile.image_size} px, {profile.precision}, "
            f"{profile.epochs:g} epochs); policy {self.space.policy.name}"
        )

    def _data_line(self) -> str:
        if self.space.data.name == "demo":
            return "DEMONSTRATION images, drawn by the program (use --data for your own)"
        return f"{self.space.data.name} at {self.space.data.root}"

    # -- the search ------------------------------------------------------------------------------

    def search(self) -> dict[str, Any]:
        """Train what is missing, write the report; returns the summary.

        Its `incomplete` is the fault of the machine that ended the search, "" if there was none.
        """
        from search.scheduling.journal import Journal
        from search.store.stage_store import StageStore, full_disk_explained

        self._say(self._headline())
        self._say(f"data {self._data_line()}")
        self.check()
        self.store = StageStore(self.space.store)
        self.plan = Plan(self.space, self.images.digest(), self.weights, self.store.rate)
        self._check_space()
        journal = Journal(self.out, self.plan.identity())
        with full_disk_explained(self.space.store):
            self.questions = Scheduler(
                self.plan, self.policy, journal, self.store, self.meter.spent
            )
            before, ready = set(self.store.keys()), self.questions.next()
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
                return self._report(before, incomplete=str(fault))
            return self._report(before)

    def _decode(self) -> None:
        self.images.decode(self.console)
        duplicates.write(self.images.data, self.out / "report")

    def _check_space(self) -> None:
        """Room for the backbones of every stage and score, and for a few checkpoints."""
        planned = self.policy.planned().maximum
        again = sum(repeats.schedule(planned, self.space.repeats))
        files = 2 * planned + (self.space.max_length + 1) * again + CHECKPOINTS
        self.store.check_space(files * backbone_bytes(self.space.profile.backbone))

    def _weights(self) -> str | None:
        path = self.space.baselines.imagenet
        return file_digest(path) if path else None

    def _engine(self) -> "Engine":
        """Ray with its worker groups; a UserError if none fits."""
        resources = self._connect()
        from search.cluster.engine import Engine
        from search.cluster.worker_groups import GroupShape

        self.device = hardware.describe(resources)
        wanted = self.policy.planned().maximum + len(self.plan.baselines())
        shared = self._groups_per_gpu(resources, wanted)
        crew = GroupShape.of(self.space.runtime, self.cluster.nodes(), wanted, shared)
        self.meter.gpus = crew.workers * crew.gpus
        groups = crew.fit(resources)
        if groups == 0:
            raise UserError(
                f"runtime.workers={crew.workers}, runtime.threads={crew.threads}: must fit on "
                f"{self.device} together; try a smaller one"
            )
        self._say(f"{groups} worker groups of {crew.workers} x {crew.threads} CPU threads")
        scratch, namespace = self.out / "ray", self.cluster.namespace
        engine = Engine(self.plan, self._settings(crew), crew, namespace, scratch)
        self.meter.leased = lambda: engine.status.leased
        return engine

    def _train(self, engine: "Engine", ready: Node) -> None:
        """Train all that is not in the store."""
        from search.console.live import LiveView
        from search.console.progress import Show

        self.tracker.start(self.plan, self._info(set()))
        with LiveView(self.console, map(name, self.space.chains())) as view:
            show = Show(view, self.meter, snapshot(self.questions))
            engine.run(self.questions, ready, lambda: self._publish(show), show)

    def _publish(self, show: "Show") -> None:
        """Give view and tracker frozen records of what changed; on the driver's thread."""
        if self.published == self.questions.changes:
            return
        self.published = self.questions.changes
        show.snapshot = snapshot(self.questions)
        if fresh := set(self.questions.scores) - self.told:
            self.told |= fresh
            chains = {proposal.chain for proposal in fresh}
            judged_by = {(task,) for task in self.space.tasks} | {(one,) for one in BASELINES}
            results = Collector(self.questions, {*chains, *judged_by}).results()
            self.tracker.update(tuple(results), frozenset(chains), self.store)

    def _groups_per_gpu(self, resources: dict[str, float], wanted: int) -> int:
        """Measured where a GPU may be shared and there is work for more groups than GPUs."""
        from search.cluster import gpu_sharing as packing

        runtime, gpus = self.space.runtime, int(resources.get("GPU", 0))
        most = -(-(runtime.groups or wanted) // gpus) if gpus else 1
        if runtime.groups_per_gpu or runtime.workers > 1 or most == 1:
            return runtime.groups_per_gpu or 1
        self._decode()  # the probes train on them
        stages = [self.plan.stages(Node((task,)))[0] for task in self.space.tasks]
        space = self.space
        found = packing.groups_per_gpu(stages, space.data.root, space.cache, most)
        self._say(str(found))
        return found.groups

    def _settings(self, crew: Any) -> Any:
        from search.cluster.broker import Settings
        from trainables.spec import Runtime

        space, runtime = self.space, self.space.runtime
        return Settings(
            store=space.store,
            data_root=space.data.root,
            cache=space.cache,
            weights=space.baselines.imagenet,
            runtime=Runtime(
                threads=crew.threads,
                log_every=runtime.log_every,
                checkpoint_seconds=runtime.checkpoint_seconds,
            ),
            attempts=runtime.attempts,
        )

    # -- what came of it -------------------------------------------------------------------------

    def _report(
        self, before: Collection[str], interrupted: bool = False, incomplete: str = ""
    ) -> dict[str, Any]:
        """before: keys that were finished when the command started."""
        from search import report

        table = report.build(self.outcome.results(), self.store)
        info = self._info(self.outcome.stages() - set(before), interrupted, incomplete)
        summary = report.write(table, self.plan, info, self.store, self.out)
        try:
            report.illustrate(table, self.plan, info, summary, self.store, self.out)
        except Exception:  # the numbers are written
            log.exception("figures and page failed")
        self.tracker.mirror(table, self.plan, info, summary, self.store, self.out)
        self.console.print(report.terminal.render(table))
        self._closing(incomplete)
        return summary

    def _info(self, trained: set[str], interrupted: bool = False, incomplete: str = "") -> RunInfo:
        space, demo = self.space, self.space.data.name == "demo"
        pick = self.policy.best() if space.repeats == 1 else None
        wall = time.monotonic() - self.started
        return RunInfo(
            space=space.name,
            data="demo" if demo else f"{space.data.name}: {self.data_name}",
            demo=demo,
            policy=space.policy.name,
            profile=space.profile.name,
            device=self.device,
            stages_trained=len(trained),
            stages_reused=len(self.outcome.stages() - trained),
            stages_repeats=len(self.outcome.repeats()),
            stages_pruned=len(self.questions.pruned()),
            stages_naive=stages_naive(self.space.chains()),
            wall_seconds=wall,
            interrupted=interrupted,
            started=self.began,
            near_duplicates=duplicates.count(self.images.data),
            recommended=name(pick.chain) if pick in self.questions.scores else None,
            stopped=self.questions.stopped(),
            budget=str(space.budget),
            budget_spent=bool(self.questions.over),
            overhead=self._overhead(wall),
            incomplete=incomplete,
        )

    def _overhead(self, wall: float) -> Overhead | None:
        """What the time went to besides training; None where nothing was trained."""
        if self.engine is None:
            return None
        return summarise(self.engine.status.ledger, self.engine.broker_started - self.started, wall)

    @property
    def outcome(self) -> Collector:
        return Collector(self.questions)

    def _closing(self, incomplete: str) -> None:
        if incomplete:
            self._say(f"INCOMPLETE: {incomplete}")
        if self.space.data.name == "demo":
            self._say("these are DEMONSTRATION images: the result says nothing about yours")
        self._say(f"report    {self.out / 'report' / 'index.html'}")
        self._say(f"backbone  {self.out / 'best'}")
        self._say(f"compare   {self.tracker.command}")


def _check_given(args: argparse.Namespace) -> None:
    """UserError for an option that was given nothing."""
    for option in ("data", "out", "policy", "budget", "address", "tracking_uri"):
        given = getattr(args, option)
        if given is not None and not given.strip():
            flag = "--" + option.replace("_", "-")
            raise UserError(f"{flag}={given}: must not be empty; try leaving {flag} out")
