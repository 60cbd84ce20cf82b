"""The Tune side: which trials are recorded, which are tried again, and what ends the search."""

import logging
import threading
from types import SimpleNamespace

import pytest
import ray

from search.chains.node import Node, Range
from search.cluster import engine as tuning
from search.cluster.engine import LOST_TRIALS, EarlyStop, Engine, PolicySearch
from search.console import exit
from search.results.status import Status

MOCO, ODC = Node.parse("moco"), Node.parse("odc")
RANGES = {"moco": Range((0.01, 0.1), (0.01, 0.1)), "odc": Range((0.03,), (0.03,))}


class Scheduler:
    """Two chains to ask for; `store` is what the driver finds there."""

    def __init__(self):
        self.left, self.recorded, self.store = [ODC], [], {MOCO: {}}

    def next(self):
        return self.left.pop() if self.left else None

    def finished(self):
        return not self.left

    def known(self, node):
        return self.store.get(node)

    def record(self, node, reason="", stop=None):
        self.recorded.append((node, reason, stop))


@pytest.fixture
def searcher():
    return PolicySearch(Scheduler(), MOCO, RANGES, lambda: 2, lambda: None)


def test_a_score_and_a_failed_task_are_recorded(searcher):
    assert searcher.suggest("1") == MOCO.config(RANGES)
    assert searcher.suggest("2") == ODC.config(RANGES)
    assert searcher.suggest("3") is None  # as many as there are groups
    searcher.on_trial_complete("1", {"state": "done", "reason": ""})
    searcher.on_trial_complete("2", {"state": "failed", "reason": "loss is NaN at step 3"})
    assert searcher.scheduler.recorded == [(MOCO, "", None), (ODC, "loss is NaN at step 3", None)]
    assert searcher.suggest("4") == searcher.FINISHED


def test_a_lost_trial_is_tried_again_and_not_recorded(searcher):
    for number in range(LOST_TRIALS):
        assert searcher.suggest(str(number))["tasks"] == ["moco"]
        searcher.on_trial_complete(str(number), None, error=True)
    assert searcher.scheduler.recorded == []
    assert searcher.fault == f"moco: its trial was lost ({LOST_TRIALS} times)"
    assert searcher.suggest("9") == searcher.FINISHED


def test_a_score_that_the_driver_cannot_read_is_asked_for_again(searcher):
    searcher.suggest("1")
    searcher.scheduler.store.clear()
    searcher.on_trial_complete("1", {"state": "done", "reason": ""})
    assert searcher.scheduler.recorded == []
    assert searcher.suggest("2")["tasks"] == ["moco"]
    searcher.scheduler.store[MOCO] = {}
    searcher.on_trial_complete("2", {"state": "done", "reason": ""})
    assert searcher.scheduler.recorded == [(MOCO, "", None)]


def test_a_fault_ends_the_search_and_is_not_recorded(searcher):
    searcher.suggest("1")
    searcher.on_trial_complete("1", {"state": "ended", "reason": "moco: the disk is full"})
    assert searcher.scheduler.recorded == []
    assert searcher.fault == "moco: the disk is full"
    assert searcher.suggest("2") == searcher.FINISHED


def test_a_stop_is_recorded(searcher):
    searcher.suggest("1")
    searcher.stops["1"] = "hopeless"
    searcher.on_trial_complete("1", {"epoch": 3})
    assert searcher.scheduler.recorded == [(MOCO, "", "hopeless")]


def test_a_stop_ends_trial_and_score_even_before_the_first_epoch(searcher):
    said: list[Node] = []
    searcher.scheduler.probed = said.append
    answers = {0: None, 1: None, 2: SimpleNamespace(reason="behind")}
    searcher.scheduler.judge = lambda node, best, epoch, epochs: answers[epoch]
    cancelled = []
    cancel = SimpleNamespace(remote=lambda *given: cancelled.append(given))
    stopping = EarlyStop(searcher, SimpleNamespace(cancel=cancel))
    searcher.suggest("1")
    trial = SimpleNamespace(trial_id="1")

    def result(epoch):
        found = {"merit": float("nan"), "epoch": epoch, "epochs": 3}
        return stopping.on_trial_result(None, trial, found)

    assert [result(epoch) for epoch in (0, 1)] == ["CONTINUE"] * 2
    assert said == [MOCO]
    assert (result(2), cancelled, [*searcher.stops]) == ("STOP", [(MOCO, "behind")], ["1"])
    answers[0] = SimpleNamespace(reason="hopeless probe")
    assert (result(0), said, cancelled[1:]) == ("STOP", [MOCO] * 2, [(MOCO, "hopeless probe")])


def test_what_changed_is_published_by_the_thread_that_asks_and_tells():
    threads = []
    searcher = PolicySearch(
        Scheduler(), MOCO, RANGES, lambda: 2, lambda: threads.append(threading.current_thread())
    )
    searcher.suggest("1")
    searcher.on_trial_complete("1", {"state": "done", "reason": ""})
    assert threads == [threading.main_thread()] * 2


@pytest.fixture
def watch(monkeypatch):
    """Run the watch of an engine and return what was shown; the broker gives these answers."""
    monkeypatch.setattr(tuning, "POLL_SECONDS", 0)
    monkeypatch.setattr(exit, "abandon", lambda *_: None)

    def run(answers, show, searcher, over):
        def get(_, timeout):  # noqa: ARG001
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(tuning.ray, "get", get)
        engine = object.__new__(Engine)
        method = SimpleNamespace(remote=lambda *_: None)
        engine.broker, engine.said = SimpleNamespace(status=method), ""
        engine.worker_groups = SimpleNamespace(late=lambda _: (), nodes_that_died=frozenset)
        engine._watch(show, searcher, over)
        return engine

    return run


def test_neither_a_slow_broker_nor_a_failing_view_ends_the_watch(watch, searcher, caplog):
    slow, gone = ray.exceptions.GetTimeoutError("10 s"), ray.exceptions.RayActorError()
    seen = []

    def show(status):
        seen.append(status.elapsed)
        raise OSError("no terminal")

    answers = iter([Status(1), slow, Status(2), Status(3), gone])
    engine = watch(answers, show, searcher, threading.Event())
    assert seen == [1, 2, 3]
    assert engine.status.elapsed == 3
    said = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert said == ["live view failed: no terminal"]
    assert searcher.fault == tuning.BROKER_DIED


def test_an_end_is_heard(watch, searcher):
    over = threading.Event()
    over.set()
    watch(iter([]), print, searcher, over)
    assert searcher.fault == ""
