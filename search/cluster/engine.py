"""Ray Tune: a Searcher around the scheduler, early stopping, the Tuner.

    with Engine(plan, shape, namespace, out) as engine:
        engine.run(scheduler, ready, publish, show)     # MachineFault if a fault ends the search

Trials use a `driver_slot` and no CPU, so that they never starve the worker groups they wait for.
After each result of a trial Tune may stop it.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.chains.node import Node, Ranges
from search.chains.plan import Plan
from search.cluster.broker import Broker
from search.cluster.connection import SLOT
from search.cluster.group_shape import GroupShape
from search.cluster.trials import ChainTrial, Kept, Reported
from search.cluster.worker_groups import WorkerGroups
from search.console import exit
from search.results.status import Status
from search.scheduling.early_stopping import Stop
from search.scheduling.scheduler import METRIC, Scheduler
from trainables.errors import MachineFault, first_line

BROKER = "broker"
HEAD = "node:__internal_head__"  # Ray's resource of the head node
POLL_SECONDS = 0.5
STATUS_SECONDS = 10.0  # timeout for the broker
SETTLE_SECONDS = 10.0  # to leave checkpoints after an interrupt
ABANDON_SECONDS = 10.0  # for Tune to end by itself once the broker has died
LOST_TRIALS = 3
BROKER_DIED = "the broker died: its process, or the head's Ray node, ended"
log = logging.getLogger(__name__)


class PolicySearch(Searcher):
    """Tune's interface to `Scheduler`: at most one trial at a time for each worker group.

    publish: called on the driver's thread after every change. fault: what ends the search; it is
    never recorded as a score.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        ready: Node,
        ranges: Ranges,
        capacity: Callable[[], int],
        publish: Callable[[], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.capacity, self.publish = capacity, publish
        self.scheduler, self.ready, self.ranges = scheduler, [ready], ranges
        self.trials: dict[str, Node] = {}
        self.stops: dict[str, Stop] = {}  # by trial id
        self.lost: Counter[Node] = Counter()  # trials without a result
        self.fault = ""

    def suggest(self, trial_id: str) -> Any:
        if self.fault:
            return Searcher.FINISHED
        if len(self.trials) >= self.capacity():
            return None
        node = self.ready.pop() if self.ready else self.scheduler.next()
        self.publish()
        if node is None:
            return Searcher.FINISHED if self.scheduler.finished() else None
        self.trials[trial_id] = node
        return node.config(self.ranges)

    def on_trial_complete(
        self, trial_id: str, result: Reported | None = None, error: bool = False
    ) -> None:
        if (node := self.trials.pop(trial_id, None)) is None:
            return
        stop, result = self.stops.pop(trial_id, None), result or {}
        state, reason = result.get("state"), str(result.get("reason", ""))
        if stop is not None:
            self.scheduler.record(node, stop=stop)
        elif error or state is None:
            self._ask_again(node, "its trial was lost")
        elif state == "ended":
            self.end(reason)
        elif state == "done" and self.scheduler.known(node) is None:
            self._ask_again(node, "the driver can't read its score in the store")
        else:
            self.scheduler.record(node, reason)
        self.publish()

    def _ask_again(self, node: Node, reason: str) -> None:
        """Try a lost trial again: it says nothing about its chain, and no finished work is lost."""
        self.lost[node] += 1
        self.ready.append(node)
        if self.lost[node] >= LOST_TRIALS:
            self.end(f"{node}: {reason} ({LOST_TRIALS} times)")

    def end(self, fault: str) -> None:
        """Start no new trials; the first fault is reported."""
        self.fault = self.fault or fault

    def __getstate__(self) -> object:
        return {}  # Tune's pickle is never restored: a search resumes from journal and store

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: journal and store are the search's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""


class EarlyStop(FIFOScheduler):
    """Tells the policy a trial's probes; stops one that can't reach the best score any more."""

    def __init__(self, searcher: PolicySearch, broker: Any) -> None:
        super().__init__()
        self.searcher, self.broker = searcher, broker

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Reported) -> str:  # noqa: ARG002
        node, value = self.searcher.trials[trial.trial_id], float(result[METRIC])
        epoch, epochs = int(result["epoch"]), int(result["epochs"])
        if epoch == 0:
            self.searcher.scheduler.probed(node)
        stop = self.searcher.scheduler.judge(node, value, epoch, epochs)
        if stop is None:
            return TrialScheduler.CONTINUE
        self.searcher.stops[trial.trial_id] = stop
        self.broker.cancel.remote(node, stop.reason)
        return TrialScheduler.STOP

    def __getstate__(self) -> object:
        return {}  # see PolicySearch


class OwnSignals(tune.Callback):
    """Take SIGUSR1 back from Tune, whose own handler just ends the process."""

    def setup(self, *_: Any, **__: Any) -> None:
        exit.listen()


class Engine:
    """The broker and the worker groups, which start at once, and Tune, started by `run`.

    A context manager: at its end no worker group is restarted, and Ray is shut down unless a
    starting worker group needs it. After `run` they end while the block continues. status: the
    broker's last one; broker_started: on the driver's clock.
    """

    def __init__(self, plan: Plan, shape: GroupShape, namespace: str, out: Path) -> None:
        """namespace: of Ray's actors. out: where Tune's files are kept."""
        self.ranges = plan.space.ranges
        self.kept = Kept(out / "tune", self.ranges)
        self.scratch, self.status = out / "ray", Status()
        self.said = ""  # the last warning
        self.broker_started = time.monotonic()
        exit.discard(self.scratch)
        served = {"broker": BROKER, "namespace": namespace}
        actor: Any = ray.remote(Broker).options(
            name=BROKER, num_cpus=0, max_concurrency=1000, resources={HEAD: 0.001}
        )
        self.broker = actor.remote(plan, shape.threads)
        self.broker.watch.remote()
        self.worker_groups = WorkerGroups(shape, self.broker, served, self.scratch)
        self.worker_groups.start()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.worker_groups.stopping.set()
        if error is None:
            self.worker_groups.join()
        elif error is KeyboardInterrupt:
            self._settle()
        if self.worker_groups.ended():
            ray.shutdown()

    def _settle(self) -> None:
        """Wait until running jobs have left a checkpoint, for SETTLE_SECONDS at most."""
        deadline = time.monotonic() + SETTLE_SECONDS
        with suppress(ray.exceptions.RayError):
            while time.monotonic() < deadline:
                status = ray.get(self.broker.status.remote(), timeout=STATUS_SECONDS)
                if not status.groups:
                    return
                time.sleep(POLL_SECONDS)

    def run(
        self,
        scheduler: Scheduler,
        ready: Node,
        publish: Callable[[], None],
        show: Callable[[Status], None],
    ) -> None:
        """Search until the scheduler is finished; MachineFault if a fault ends the search.

        ready: the first node. publish: see `PolicySearch`. show: called with every status, in its
        own thread.
        """
        searcher = PolicySearch(scheduler, ready, self.ranges, self.worker_groups.size, publish)
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(show, searcher, over), daemon=True)
        watcher.start()
        try:
            self._tuner(searcher).fit()
            if searcher.fault:
                raise MachineFault(searcher.fault)
            self._poll(show)
        except SystemError as error:  # Cython's, where a signal's handler raises inside of Ray
            raise (error.__cause__ or error) from None
        except (ray.exceptions.RayError, TuneError, OSError) as error:
            raise MachineFault(searcher.fault or first_line(error)) from error
        finally:
            self.worker_groups.stopping.set()
            over.set()
            with suppress(ray.exceptions.RayError):
                self.broker.stop.remote()
            watcher.join(timeout=5)

    def _watch(
        self, show: Callable[[Status], None], searcher: PolicySearch, over: threading.Event
    ) -> None:
        """Poll until `over` is set; what else fails is logged."""
        while not over.wait(POLL_SECONDS):
            try:
                self._poll(show)
            except (ray.exceptions.GetTimeoutError, ray.exceptions.ActorUnavailableError):
                continue
            except ray.exceptions.RayError:
                searcher.end(BROKER_DIED)
                exit.abandon(over, ABANDON_SECONDS, BROKER_DIED)
                return
            except Exception as error:
                self._warn(f"watching the search failed: {first_line(error)}")

    def _poll(self, show: Callable[[Status], None]) -> None:
        if dead := self.worker_groups.nodes_that_died():
            self.broker.nodes_died.remote(dead)
        status = ray.get(self.broker.status.remote(), timeout=STATUS_SECONDS)
        self.broker_started = time.monotonic() - status.elapsed
        late = self.worker_groups.late(status)
        self.status = replace(status, notices=(*status.notices, *late))
        try:
            show(self.status)
        except Exception as error:  # the terminal's; it costs no search
            self._warn(f"live view failed: {first_line(error)}")

    def _warn(self, said: str) -> None:
        if said != self.said:
            self.said = said
            log.warning("%s", said)

    def _tuner(self, searcher: PolicySearch) -> tune.Tuner:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # lost trials are tried again
        trial = tune.with_parameters(ChainTrial, broker=self.broker, ranges=self.ranges)
        return tune.Tuner(
            tune.with_resources(trial, {SLOT: 1.0}),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=EarlyStop(searcher, self.broker),
                num_samples=-1,
                max_concurrent_trials=self.worker_groups.shape.limit,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(self.scratch),
                verbose=0,
                callbacks=[OwnSignals(), JsonLoggerCallback(), CSVLoggerCallback(), self.kept],
            ),
        )
