"""The look that the driver takes at the broker while a search runs."""

import threading

import pytest
import ray

from search import tuning


def test_neither_a_slow_broker_nor_a_failing_view_ends_the_watch(monkeypatch, caplog):
    class Broker:
        class status:
            remote = staticmethod(lambda: None)

    answers = iter([{"n": 1}, "slow", {"n": 2}, {"n": 3}, "gone"])
    seen = []

    def get(_, timeout):
        answer = next(answers)
        if answer == "slow":
            raise ray.exceptions.GetTimeoutError(f"{timeout} s are over")
        if answer == "gone":
            raise ray.exceptions.RayActorError()
        return answer

    def show(status):
        seen.append(status["n"])
        raise OSError("no terminal")

    monkeypatch.setattr(tuning.ray, "get", get)
    monkeypatch.setattr(tuning, "POLL_SECONDS", 0)
    tuning._watch(Broker, show, threading.Event())
    assert seen == [1, 2, 3]
    assert [r.message for r in caplog.records] == [
        "what the search does can't be shown: no terminal"
    ]


def test_an_end_is_heard(monkeypatch):
    monkeypatch.setattr(tuning.ray, "get", lambda *_, **__: pytest.fail("looked"))
    over = threading.Event()
    over.set()
    tuning._watch(None, print, over)
