"""One search from the command's arguments to the report: the pieces, put together in order.

`Session(args, started)` reads and checks everything; `print_plan` or `search` follow.
"""

import argparse
import os
import shutil
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from search import environment, hardware
from search.chain import (
    BASELINES,
    IMAGENET,
    Chain,
    enumerate_chains,
    name,
    stages_naive,
    stages_shared,
)
from search.plan import Plan, backbone_bytes, data_spec, estimate, file_digest
from search.policies import Policy
from search.proposal import Proposal
from search.questions import Questions
from search.results import ChainResult, RunInfo
from search.space import Space, load
from trainables.errors import UserError
from trainables.plugins import load as plugin

if TYPE_CHECKING:
    from search.store import StageStore
    from search.tracking import Tracker
    from trainables.cache import Prepared

CHECKPOINTS = 16  # backbones that a running search may need for its checkpoints


class Session:
    """The state of one command."""

    plan: Plan
    store: "StageStore"
    tracker: "Tracker"
    questions: Questions
    data: "Prepared"

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        self.args, self.started = args, started
        self.began = datetime.now(UTC).isoformat(timespec="seconds")
        self.console = Console(width=None if sys.stdout.isatty() else 120)
        self.cluster: Any = None
        self.gpus = self._gpus()
        self.space = self._space()
        self.policy = self._policy()
        self.device = hardware.describe({"CPU": hardware.cpus(), "GPU": self.gpus})

    # -- reading ---------------------------------------------------------------------------------

    def _gpus(self) -> int:
        """GPUs of this machine, or of the cluster at the address."""
        if self.args.address is None or self.args.dry_run:
            return hardware.gpus()
        return int(self._connect().get("GPU", 0))

    def _connect(self) -> dict[str, float]:
        environment.prepare(self.args.address)
        from search.tuning import Cluster

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
        overrides += [f"budget={args.budget}"] if args.budget is not None else []
        space = hardware.resolve(load(args.space, overrides), self.gpus)
        root = args.data or space.data.root
        if space.data.name == "demo" and root:
            raise UserError(f"--data {root}: data=demo draws its images; leave out one of the two")
        return replace(
            space,
            store=os.path.abspath(space.store),
            cache=os.path.abspath(space.cache),
            data=replace(space.data, root=root and os.path.abspath(root)),
        )

    def _policy(self) -> Policy:
        space = self.space
        return plugin("search.policies", space.policy.name)(
            tuple(space.tasks), space.max_length, space.budget, space.seed, space.policy.params,
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
        from trainables.cache import count

        space, planned = self.space, self.policy.planned()
        chains = self._chains()
        root = Path(space.data.root) if space.data.root else None
        images = count(data_spec(space), root)
        cost = estimate(space.profile, space.tasks, images, len(space.downstream.lr_range))
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
        total = planned.maximum * (cost.stage + cost.score) + cost.score
        self._say(
            f"cost      about {_clock(cost.stage)} a stage and {_clock(cost.score)} a score on one "
            f"worker; {_clock(total)} of one worker in all, at most (an estimate)"
        )
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

        self._say(self._headline())
        self._say(f"data {self._data_line()}")
        self.tracker = Tracker(self.args.tracking_uri, self.space.name, self.out)
        self.tracker.connect()
        self.store = StageStore(self.space.store)
        weights = self._weights()
        self.plan = Plan(self.space, self._prepare(), weights)
        self._check_space()
        journal = Journal(self.out, self.plan.identity())
        with full_disk_explained(self.space.store):
            self.questions = Questions(self.plan, self.policy, journal, self.store)
            before = set(self.store.keys())
            try:
                trained = self._train()
            except KeyboardInterrupt:
                self._report(self._stages() - before, interrupted=True)
                raise
            return self._report(trained, interrupted=False)

    def _check_space(self) -> None:
        """Room for the backbones of every stage and score, and for a few checkpoints."""
        files = 2 * self.policy.planned().maximum + CHECKPOINTS
        self.store.check_space(files * backbone_bytes(self.space.profile.backbone))

    def _prepare(self) -> str:
        """Decode what is not decoded; returns the data's digest."""
        from rich.progress import Progress

        from trainables.cache import open_cache, prepare

        space = self.space
        root = Path(space.data.root) if space.data.root else None
        with Progress(console=self.console, transient=True) as progress:
            bar = progress.add_task("decoding images", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total)

            folder = prepare(data_spec(space), root, Path(space.cache), show)
        self.data = data = open_cache(folder)
        sizes = ", ".join(f"{len(index)} {part}" for part, index in data.split.items())
        self._say(f"{len(data.labels)} images, {len(data.classes)} classes: {sizes}")
        return data.digest

    def _weights(self) -> str | None:
        path = self.space.baselines.imagenet
        return file_digest(path) if path else None

    def _train(self) -> set[str]:
        """Train all that is not in the store, with no Ray at all if that is nothing; stage keys."""
        questions = self.questions
        ready = questions.next()
        if ready is None:
            return set()
        from search.live import LiveView
        from search.progress import Progress
        from trainables.preflight import check

        check(self.plan.stages(Proposal(tuple(self.space.tasks))), self.data)
        check([self.plan.downstream(ready)], self.data)
        resources = self._connect()
        from search import tuning
        from search.pool import Crew

        self.device = hardware.describe(resources)
        wanted = self.policy.planned().maximum + len(self.plan.baselines())
        crew = Crew.of(self.space.runtime, self.cluster.nodes(), wanted)
        groups = crew.fit(resources)
        if groups == 0:
            raise UserError(
                f"runtime.workers={crew.workers}, runtime.threads={crew.threads}: no worker group "
                f"fits on {self.device}; make one of them smaller"
            )
        self._say(f"{groups} worker groups of {crew.workers} x {crew.threads} CPU threads")
        self.tracker.start(self.plan, self._info(set(), interrupted=False))
        scratch = self.out / "ray"
        try:
            with LiveView(self.console, self.plan) as view:
                show = Progress(view, self.questions, self.policy, self.started, self.mirror)
                status = tuning.run(
                    questions, ready, self._settings(crew), crew, self.cluster.namespace, scratch,
                    show,
                )  # fmt: skip
            return set(status["trained"])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

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

        results = self.results()
        info = self._info(trained, interrupted)
        summary = report.write(self.plan, results, info, self.store, self.out)
        self.tracker.mirror(self.plan, results, info, summary, self.store, self.out)
        self.console.print(report.table.terminal(report.table.build(results, self.store)))
        self._closing()
        return summary

    def mirror(self) -> None:
        """Log the chains scored so far, so that the tracker shows a search while it runs."""
        from search.report import table

        results = self.results()
        rows = table.build(results, self.store)
        for result in results:
            if result.status == "done" and (row := rows.row(name(result.chain))) is not None:
                self.tracker.log_chain(result, row, self.store)

    def results(self) -> list[ChainResult]:
        """One record a chain and a baseline: of a chain's proposals, the best."""
        found: dict[Chain, ChainResult] = {}
        scores = sorted(self.questions.scores.items(), key=lambda item: item[1].balanced_accuracy)
        for proposal, score in scores:
            stages = self.plan.stages(proposal)
            found[proposal.chain] = ChainResult(
                proposal.chain, "done", score, str(proposal) if proposal.windows else "",
                stages[-1].key() if stages else None, self.plan.downstream(proposal).key(),
            )  # fmt: skip
        for proposal, reason in self.questions.reasons.items():
            found.setdefault(proposal.chain, ChainResult(proposal.chain, "failed", reason=reason))
        for chain, reason in self.policy.pruned().items():
            found.setdefault(chain, ChainResult(chain, "pruned", reason=reason))
        if self.plan.imagenet_digest is None:
            found[(IMAGENET,)] = ChainResult((IMAGENET,), "not run", reason="no weights")
        every = [*self._chains(), *((baseline,) for baseline in BASELINES)]
        return [found.get(chain, ChainResult(chain, "planned")) for chain in every]

    def _chains(self) -> list[Chain]:
        return list(enumerate_chains(tuple(self.space.tasks), self.space.max_length))

    def _stages(self) -> set[str]:
        """Keys of all finished stages of the chains scored so far."""
        scored = [p for p in list(self.questions.scores) if p.chain[0] not in BASELINES]
        return {spec.key() for p in scored for spec in self.plan.stages(p)}

    def _info(self, trained: set[str], interrupted: bool) -> RunInfo:
        space, demo = self.space, self.space.data.name == "demo"
        return RunInfo(
            space=space.name,
            data="demo" if demo else f"{space.data.name}: {self.data_name}",
            demo=demo,
            policy=space.policy.name,
            profile=space.profile.name,
            device=self.device,
            stages_trained=len(trained),
            stages_reused=len(self._stages() - trained),
            stages_pruned=len(self.policy.pruned()),
            stages_naive=stages_naive(self._chains()),
            wall_seconds=time.monotonic() - self.started,
            interrupted=interrupted,
            started=self.began,
        )

    def _closing(self) -> None:
        if self.space.data.name == "demo":
            self._say("these are DEMONSTRATION images: the result says nothing about yours")
        self._say(f"report    {self.out / 'report' / 'index.html'}")
        self._say(f"backbone  {self.out / 'best'}")
        self._say(f"compare   {self.tracker.command}")

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
