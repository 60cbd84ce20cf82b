"""The Ray Tune side: a Searcher around a policy, a trial that asks the broker, the Tuner.

    with Engine(plan, settings, crew, namespace, scratch) as engine:
        engine.run(questions, ready, publish, show)     # MachineFault if a fault stays

A Tune trial is one node of the prefix tree: it extends a finished chain by one stage and scores it.
Trials hold a `driver_slot`, no CPU, so that they can never starve the worker groups they wait for.
Each epoch of its fine-tuning is one result of the trial, after which Tune may stop it.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search import interrupt, leaving
from search.broker import Broker, Settings
from search.connection import SLOT
from search.plan import Plan
from search.pool import Crew, Pool
from search.proposal import Proposal
from search.questions import METRIC, Questions
from search.status import Curve, Status
from search.stopping import Stop
from trainables.errors import MachineFault

BROKER = "broker"
HEAD = "node:__internal_head__"  # Ray's own resource of the head node
POLL_SECONDS = 0.5
STATUS_SECONDS = 10.0  # for the broker to answer
SETTLE_SECONDS = 10.0  # after an interrupt
ABANDON_SECONDS = 10.0  # for Tune to end by itself once the broker is gone
LOST_TRIALS = 3
GONE = "the broker is gone: its process or Ray's node on the head died"
log = logging.getLogger(__name__)


class ChainTrial(tune.Trainable):
    """Asks the broker for one chain's score; the actor is reused for the next trial.

    Its results: an epoch's best accuracy so far with `epoch` of `epochs`; in the end the score.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.proposal, self.epochs = Proposal.parse(config["proposal"]), 0
        self.broker = ray.get_actor(config["broker"], namespace=config["namespace"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        news: Any = ray.get(self.broker.follow.remote(self.proposal, self.epochs))
        if isinstance(news, Curve):
            self.epochs = len(news.values)
            epoch = {"epoch": self.epochs, "epochs": news.epochs}
            return {METRIC: max(news.values), "done": False, **epoch}
        return {METRIC: news.value, "reason": news.reason, "state": news.state, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:  # noqa: ARG002
        return {}  # the stage store has it all

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        pass


class PolicySearch(Searcher):
    """Tune's view of `Questions`: no more trials at a time than there are worker groups.

    publish: called on the driver's thread whenever an answer changed what is known. fault: what
    ends the search; it is never an answer to a question.
    """

    def __init__(
        self,
        questions: Questions,
        ready: Proposal,
        served: Mapping[str, str],
        capacity: Callable[[], int],
        publish: Callable[[], None],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.capacity, self.publish = capacity, publish
        self.questions, self.ready, self.served = questions, [ready], served
        self.trials: dict[str, Proposal] = {}
        self.stops: dict[str, Stop] = {}  # by trial, of those that the scheduler stopped
        self.lost: Counter[Proposal] = Counter()  # trials without a result
        self.fault = ""

    def suggest(self, trial_id: str) -> Any:
        if self.fault:
            return Searcher.FINISHED
        if len(self.trials) >= self.capacity():
            return None
        proposal = self.ready.pop() if self.ready else self.questions.next()
        self.publish()
        if proposal is None:
            return Searcher.FINISHED if self.questions.finished() else None
        self.trials[trial_id] = proposal
        return {"proposal": str(proposal), **self.served}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if (proposal := self.trials.pop(trial_id, None)) is None:
            return
        stop, state = self.stops.pop(trial_id, None), (result or {}).get("state")
        if stop is not None:
            self.questions.answer(proposal, stop=stop)
        elif error or result is None or state is None:
            self._ask_again(proposal, "its trial was lost")
        elif state == "ended":
            self.end(result["reason"])
        elif state == "done" and self.questions.known(proposal) is None:
            self._ask_again(proposal, "it has a score, which the driver can't read in the store")
        else:
            self.questions.answer(proposal, result["reason"])
        self.publish()

    def _ask_again(self, proposal: Proposal, reason: str) -> None:
        """A lost trial says nothing of its chain; store and broker still know what was done."""
        self.lost[proposal] += 1
        self.ready.append(proposal)
        if self.lost[proposal] >= LOST_TRIALS:
            self.end(f"{proposal}: {reason} ({LOST_TRIALS} times)")

    def end(self, fault: str) -> None:
        """Nothing new is begun; the first fault is the one that is said."""
        self.fault = self.fault or fault

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it could restore; this search is resumed from the store

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store are the search's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""


class EarlyStop(FIFOScheduler):
    """Stops a trial whose curve can't reach the best chain's score any more."""

    def __init__(self, searcher: PolicySearch, broker: Any) -> None:
        super().__init__()
        self.searcher, self.broker = searcher, broker

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        proposal = self.searcher.trials[trial.trial_id]
        stop = self.searcher.questions.judge(
            proposal, result[METRIC], result["epoch"], result["epochs"]
        )
        if stop is None:
            return TrialScheduler.CONTINUE
        self.searcher.stops[trial.trial_id] = stop
        self.broker.cancel.remote(proposal, stop.reason)
        return TrialScheduler.STOP

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's


class OwnSignals(tune.Callback):
    """Take SIGUSR1 back: Tune puts a handler of its own on it as it starts, and would just end."""

    def setup(self, *_: Any, **__: Any) -> None:
        interrupt.listen()


class Engine:
    """Broker and worker groups, which begin to come up at once, and Tune once `run` is called.

    A context manager; after it no group is started again, and Ray is shut down unless groups that
    are still coming up need it. The groups end while the block goes on after `run`. status: the
    broker's last one; broker_started: on the driver's clock.
    """

    def __init__(
        self, plan: Plan, settings: Settings, crew: Crew, namespace: str, scratch: Path
    ) -> None:
        self.scratch, self.status = scratch, Status()
        self.broker_started = time.monotonic()
        leaving.without(scratch)
        self.served = {"broker": BROKER, "namespace": namespace}
        actor: Any = ray.remote(Broker).options(
            name=BROKER, num_cpus=0, max_concurrency=1000, resources={HEAD: 0.001}
        )
        self.broker = actor.remote(plan, settings)
        self.broker.watch.remote()
        self.pool = Pool(crew, self.broker, self.served, scratch)
        self.pool.start()

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self.pool.stopping.set()
        if error is None:
            self.pool.join()
        elif error is KeyboardInterrupt:
            self._settle()
        if self.pool.ended():
            ray.shutdown()

    def _settle(self) -> None:
        """Until what is in work has left a checkpoint, or long enough."""
        deadline = time.monotonic() + SETTLE_SECONDS
        with suppress(ray.exceptions.RayError):
            while time.monotonic() < deadline:
                status = ray.get(self.broker.status.remote(), timeout=STATUS_SECONDS)
                if not status.groups:
                    return
                time.sleep(POLL_SECONDS)

    def run(
        self,
        questions: Questions,
        ready: Proposal,
        publish: Callable[[], None],
        show: Callable[[Status], None],
    ) -> None:
        """Search until the policy has no more questions; MachineFault if a fault ends it.

        publish: see `PolicySearch`; show: called with every status, in a thread of its own.
        """
        searcher = PolicySearch(questions, ready, self.served, self.pool.size, publish)
        over = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(show, searcher, over), daemon=True)
        watcher.start()
        try:
            scheduler = EarlyStop(searcher, self.broker)
            _tuner(searcher, scheduler, self.pool.crew.limit, self.scratch).fit()
            if searcher.fault:
                raise MachineFault(searcher.fault)
            self._look(show)
        except (ray.exceptions.RayError, TuneError, OSError) as error:
            raise MachineFault(searcher.fault or _first_line(error)) from error
        finally:
            self.pool.stopping.set()
            over.set()
            with suppress(ray.exceptions.RayError):
                self.broker.stop.remote()
            watcher.join(timeout=5)

    def _watch(
        self, show: Callable[[Status], None], searcher: PolicySearch, over: threading.Event
    ) -> None:
        """Poll until `over` is set; timeouts and view errors are logged."""
        said = ""
        while not over.wait(POLL_SECONDS):
            try:
                self._look(show)
            except (ray.exceptions.GetTimeoutError, ray.exceptions.ActorUnavailableError):
                continue
            except ray.exceptions.RayError:
                searcher.end(GONE)
                interrupt.abandon(over, ABANDON_SECONDS, GONE)
                return
            except Exception as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("live view failed: %s", said)

    def _look(self, show: Callable[[Status], None]) -> None:
        if dead := self.pool.nodes_that_died():
            self.broker.nodes_died.remote(dead)
        status = ray.get(self.broker.status.remote(), timeout=STATUS_SECONDS)
        self.broker_started = time.monotonic() - status.elapsed
        late = self.pool.late(status)
        self.status = replace(status, notices=(*status.notices, *late))
        show(self.status)


def _tuner(searcher: PolicySearch, scheduler: EarlyStop, limit: int, scratch: Path) -> tune.Tuner:
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # lost trials are asked again
    return tune.Tuner(
        tune.with_resources(ChainTrial, {SLOT: 1.0}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=limit,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(scratch), verbose=0, callbacks=[OwnSignals()]
        ),
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
