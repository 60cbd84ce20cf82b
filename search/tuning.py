"""The Ray Tune side: a Searcher around a policy, a trial that asks the broker, the Tuner.

    with Engine(plan, settings, crew, namespace, scratch) as engine:
        status = engine.run(questions, ready, show)

A Tune trial is one node of the prefix tree: it extends a finished chain by one stage and scores it.
Trials hold a `driver_slot`, no CPU, so that they can never starve the worker groups they wait for.
Each epoch of its fine-tuning is one result of the trial, after which Tune may stop it.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search import leaving
from search.broker import Broker, Curve, Settings
from search.connection import SLOT
from search.plan import Plan
from search.pool import Crew, Pool
from search.proposal import Proposal
from search.questions import METRIC, Questions
from search.stopping import Stop

BROKER = "broker"
POLL_SECONDS = 0.5
STATUS_SECONDS = 10.0  # for the broker to answer
SETTLE_SECONDS = 10.0  # after an interrupt
log = logging.getLogger(__name__)


class ChainTrial(tune.Trainable):
    """Asks the broker for one chain's score; the actor is reused for the next trial.

    Its results: an epoch's best accuracy so far with `epoch` of `epochs`; at last the score.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.proposal = Proposal.parse(config["proposal"])
        self.broker = ray.get_actor(config["broker"], namespace=config["namespace"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        news: Any = ray.get(self.broker.follow.remote(self.proposal))
        if isinstance(news, Curve):
            epoch = {"epoch": len(news.values), "epochs": news.epochs}
            return {METRIC: max(news.values), "done": False, **epoch}
        return {METRIC: news[0], "reason": news[1], "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:  # noqa: ARG002
        return {}  # the stage store has it all

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        pass


class PolicySearch(Searcher):
    """Tune's view of `Questions`: no more trials at a time than there are worker groups."""

    def __init__(
        self,
        questions: Questions,
        ready: Proposal,
        served: Mapping[str, str],
        capacity: Callable[[], int],
    ) -> None:
        super().__init__(metric=METRIC, mode="max")
        self.capacity = capacity
        self.questions, self.ready, self.served = questions, [ready], served
        self.trials: dict[str, Proposal] = {}
        self.stops: dict[str, Stop] = {}  # by trial, of those that the scheduler stopped

    def suggest(self, trial_id: str) -> Any:
        if len(self.trials) >= self.capacity():
            return None
        proposal = self.ready.pop() if self.ready else self.questions.next()
        if proposal is None:
            return Searcher.FINISHED if self.questions.finished() else None
        self.trials[trial_id] = proposal
        return {"proposal": str(proposal), **self.served}

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: ARG002
    ) -> None:
        if (proposal := self.trials.pop(trial_id, None)) is not None:
            reason = (result or {}).get("reason") or "its trial was lost"
            self.questions.answer(proposal, reason, self.stops.pop(trial_id, None))

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
        self.broker.drop.remote(proposal, stop.reason)
        return TrialScheduler.STOP

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as the searcher's


class Engine:
    """Broker and worker groups, which begin to come up at once, and Tune once `run` is called.

    A context manager; after it no group is started again, and Ray is shut down unless groups that
    are still coming up need it. The groups end while the block goes on after `run`.
    """

    def __init__(
        self, plan: Plan, settings: Settings, crew: Crew, namespace: str, scratch: Path
    ) -> None:
        self.scratch = scratch
        leaving.without(scratch)
        self.served = {"broker": BROKER, "namespace": namespace}
        actor: Any = ray.remote(Broker).options(name=BROKER, num_cpus=0, max_concurrency=1000)
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
                if not status["groups"]:
                    return
                time.sleep(POLL_SECONDS)

    def run(
        self, questions: Questions, ready: Proposal, show: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Search until the policy has no more questions; returns the broker's last status."""
        broker, over = self.broker, threading.Event()
        watcher = threading.Thread(target=_watch, args=(broker, show, over), daemon=True)
        watcher.start()
        try:
            searcher = PolicySearch(questions, ready, self.served, self.pool.size)
            limit = self.pool.crew.limit
            _tuner(searcher, EarlyStop(searcher, broker), limit, self.scratch).fit()
            status = ray.get(broker.status.remote())
            show(status)
            return status
        finally:
            self.pool.stopping.set()
            broker.stop.remote()
            over.set()
            watcher.join(timeout=5)


def _tuner(searcher: PolicySearch, scheduler: EarlyStop, limit: int, scratch: Path) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(ChainTrial, {SLOT: 1.0}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=limit,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(scratch), verbose=0),
    )


def _watch(broker: Any, show: Callable[[dict[str, Any]], None], over: threading.Event) -> None:
    """Until the search is over: a slow broker or a view that fails is no reason to look away."""
    said = ""
    while not over.wait(POLL_SECONDS):
        try:
            show(ray.get(broker.status.remote(), timeout=STATUS_SECONDS))
        except ray.exceptions.GetTimeoutError:
            continue
        except ray.exceptions.RayError:
            return
        except Exception as error:
            if str(error) != said:
                said = str(error)
                log.warning("what the search does can't be shown: %s", said)
