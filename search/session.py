"""One search from the command's arguments to the report: the pieces, put together in order.

`Session(args, started)` reads and checks everything; `print_plan` or `search` follow.
"""

import argparse
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

from search import environment, hardware, interrupt, repeats
from search.budget import Budget, Meter
from search.chain import BASELINES, Chain, name, stages_naive, stages_shared
from search.images import Images
from search.live import clock_text
from search.outcome import Outcome
from search.overhead import Entry, summarise
from search.plan import Plan, backbone_bytes, estimate, file_digest
from search.policies import Policy
from search.proposal import Proposal
from search.questions import Questions
from search.report import duplicates
from search.results import RunInfo
from search.space import Space, load
from trainables.errors import UserError
from trainables.plugins import load as plugin
from trainables.processor import cores

if TYPE_CHECKING:
    from search.store import StageStore
    from search.tracking import Tracker
    from search.tuning import Engine

CHECKPOINTS = 16  # backbones that a running search may need for its checkpoints


class Session:
    """The state of one command."""

    plan: Plan
    store: "StageStore"
    tracker: "Tracker"
    questions: Questions
    images: Images

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        self.args, self.started = args, started
        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.cluster: Any = None
        self.work: dict[str, Entry] = {}  # of the worker groups, in seconds since `offset`
        self.offset = 0.0
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
        from search.connection import Cluster

        self.cluster = self.cluster or Cluster(self.args.address)
        return self.cluster.connect()

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
            raise UserError(f"--data {root}: data=demo draws its images; leave out one of the two")
        if space.budget.gpu_hours is not None and not self.gpus:
            raise UserError(f"budget: came {space.budget}; there is no GPU: give wall time, as 8h")
        return replace(
            space,
            store=os.path.abspath(space.store),
            cache=os.path.abspath(space.cache),
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
        self.console.print(text, highlight=False)

    # -- the plan --------------------------------------------------------------------------------

    def print_plan(self) -> None:
        space, planned = self.space, self.policy.planned()
        chains, images = self.space.chains(), Images(self.space).check()
        cost = estimate(space, images)
        self._say(self._headline())
        self._say(f"data      {self._data_line()}, {images} images to train on")
        self._say(f"chains    {len(chains)} of up to {space.max_length} tasks")
        for chain in chains:
            self._say(f"            {name(chain)}")
        span = str(planned.maximum)
        if planned.minimum != planned.maximum:
            span = f"{planned.minimum} to {planned.maximum}"
        naive, shared = stages_naive(chains), stages_shared(chains)
        self._say(
            f"stages    {naive} naive, {shared} with shared prefixes, "
            f"{span} under the policy {space.policy.name}"
        )
        again = repeats.schedule(planned.maximum, space.repeats)
        if again:
            rounds = ", ".join(f"the best {n} {k} times" for k, n in enumerate(again, 2))
            self._say(f"repeats   {rounds}; the baselines {space.repeats} times")
        total = planned.maximum * (cost.stage + cost.score) + space.repeats * cost.score
        total += sum(again) * (space.max_length * cost.stage + cost.score)
        self._say(
            f"cost      about {clock_text(cost.stage)} a stage, {clock_text(cost.score)} a score "
            f"on one worker; {clock_text(total)} of one worker in all, at most (an estimate)"
        )
        if (seconds := space.budget.worker_seconds) is not None:
            enough = min(int(seconds / (cost.stage + cost.score)), planned.maximum)
            self._say(f"budget    {space.budget}: about {enough} of these stages on one worker")
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
        """Train what is missing, write the report; returns the summary."""
        from search.journal import Journal
        from search.store import StageStore, full_disk_explained
        from search.tracking import Tracker
        from trainables.preflight import check_gpus

        self._say(self._headline())
        self._say(f"data {self._data_line()}")
        self.tracker = Tracker(self.args.tracking_uri, self.space.name, self.out)
        self.store = StageStore(self.space.store)
        weights = self._weights()
        self.images = Images(self.space)
        self.images.check()
        if self.args.address is None:
            check_gpus(self.gpus, self.space.profile.precision)
        self.plan = Plan(self.space, self.images.digest(), weights, self.store.rate)
        self._check_space()
        journal = Journal(self.out, self.plan.identity())
        with full_disk_explained(self.space.store):
            self.questions = Questions(
                self.plan, self.policy, journal, self.store, self.meter.spent
            )
            before, ready = set(self.store.keys()), self.questions.next()
        with self._engine() if ready else nullcontext() as engine:
            self.tracker.connect()  # while the worker groups come up
            self._decode()
            with full_disk_explained(self.space.store):
                try:
                    trained = self._train(engine, ready) if engine and ready else set()
                except KeyboardInterrupt:
                    interrupt.heard()
                    self._report(self.outcome.stages() - before, interrupted=True)
                    raise
                return self._report(trained, interrupted=False)

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
        from search.pool import Crew
        from search.tuning import Engine

        self.device = hardware.describe(resources)
        wanted = self.policy.planned().maximum + len(self.plan.baselines())
        shared = self._groups_per_gpu(resources, wanted)
        crew = Crew.of(self.space.runtime, self.cluster.nodes(), wanted, shared)
        self.meter.gpus = crew.workers * crew.gpus
        groups = crew.fit(resources)
        if groups == 0:
            raise UserError(
                f"runtime.workers={crew.workers}, runtime.threads={crew.threads}: no worker group "
                f"fits on {self.device}; make one of them smaller"
            )
        self._say(f"{groups} worker groups of {crew.workers} x {crew.threads} CPU threads")
        scratch, namespace = self.out / "ray", self.cluster.namespace
        return Engine(self.plan, self._settings(crew), crew, namespace, scratch)

    def _train(self, engine: "Engine", ready: Proposal) -> set[str]:
        """Train all that is not in the store; the keys of the stages."""
        from search.live import LiveView
        from search.progress import Progress

        self.tracker.start(self.plan, self._info(set(), interrupted=False))
        with LiveView(self.console, map(name, self.space.chains())) as view:
            show = Progress(view, self.questions, self.policy, self.meter, self.mirror)
            status = engine.run(self.questions, ready, show)
        self.work, self.offset = status["ledger"], status["offset"]
        return set(status["trained"])

    def _groups_per_gpu(self, resources: dict[str, float], wanted: int) -> int:
        """Measured where a GPU may be shared and there is work for more groups than GPUs."""
        from search import packing

        runtime, gpus = self.space.runtime, int(resources.get("GPU", 0))
        most = -(-(runtime.groups or wanted) // gpus) if gpus else 1
        if runtime.groups_per_gpu or runtime.workers > 1 or most == 1:
            return runtime.groups_per_gpu or 1
        self._decode()  # the probes train on them
        stages = [self.plan.stages(Proposal((task,)))[0] for task in self.space.tasks]
        space = self.space
        found = packing.groups_per_gpu(stages, space.data.root, space.cache, most)
        self._say(str(found))
        return found.groups

    def _settings(self, crew: Any) -> Any:
        from search.broker import Settings
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

    def _report(self, trained: set[str], interrupted: bool) -> dict[str, Any]:
        from search import report

        table = report.build(self.outcome.results(), self.store)
        drawn = report.draw(table, self.store, self.out)
        info = self._info(trained, interrupted)
        summary = report.write(table, drawn, self.plan, info, self.store, self.out)
        self.tracker.mirror(table, self.plan, info, summary, self.store, self.out)
        self.console.print(report.terminal.render(table))
        self._closing()
        return summary

    def mirror(self, fresh: Collection[Chain]) -> None:
        """Log these chains, which have a new score: the tracker shows a search while it runs."""
        from search.report import rows

        judged_by = {(task,) for task in self.space.tasks} | {(one,) for one in BASELINES}
        outcome = Outcome(self.questions, {*fresh, *judged_by})
        for row in rows.build(outcome.results(), self.store).scored:
            if (row.tasks or (row.chain,)) in fresh:
                self.tracker.log_chain(row, self.store)

    def _info(self, trained: set[str], interrupted: bool) -> RunInfo:
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
            overhead=summarise(self.work, self.offset, wall),
        )

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.questions)

    def _closing(self) -> None:
        if self.space.data.name == "demo":
            self._say("these are DEMONSTRATION images: the result says nothing about yours")
        self._say(f"report    {self.out / 'report' / 'index.html'}")
        self._say(f"backbone  {self.out / 'best'}")
        self._say(f"compare   {self.tracker.command}")
