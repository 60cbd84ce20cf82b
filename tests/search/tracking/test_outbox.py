"""News goes out from a thread: nobody waits, nothing is lost that comes back."""

import threading
from collections.abc import Iterator

import pytest

from search.tracking.outbox import Outbox

Words = frozenset[str]


def union(older: Words, newer: Words) -> Words:
    return older | newer


class Server:
    """Takes words while it is up; stands still until it is let go."""

    def __init__(self) -> None:
        self.got: list[Words] = []
        self.up, self.free, self.asked = True, threading.Event(), threading.Event()
        self.free.set()
        self.failures = 0

    def send(self, words: Words) -> Iterator[None]:
        self.asked.set()
        yield
        self.free.wait()
        if not self.up:
            self.failures += 1
            raise ConnectionError("no route to http://u:pw@h")
        self.got.append(words)
        yield


def test_a_slow_server_holds_up_nobody_and_gets_everything_at_once() -> None:
    server = Server()
    server.free.clear()
    outbox = Outbox(server.send, union, "there")
    outbox.put(frozenset({"a"}))
    server.asked.wait()
    for word in "bcd":
        outbox.put(frozenset({word}))  # returns, though the server stands still
    server.free.set()
    assert outbox.last(frozenset({"e"}), 10)
    assert server.got[0] == {"a"}
    assert frozenset().union(*server.got[1:]) == {"b", "c", "d", "e"}
    assert len(server.got) <= 3, "what waited was sent as one"


@pytest.mark.usefixtures("quick")
def test_a_server_that_goes_and_comes_back(said: list[str]) -> None:
    server = Server()
    server.up = False
    outbox = Outbox(server.send, union, "there")
    outbox.put(frozenset({"a"}))
    outbox.put(frozenset({"b"}))
    while server.failures < 3:
        assert outbox._thread is not None
        outbox._thread.join(0.01)
    server.up = True
    assert outbox.last(frozenset({"c"}), 10)
    assert frozenset().union(*server.got) == {"a", "b", "c"}
    assert said[0] == (
        "tracking at there: failed (no route to http://u:***@h); tried again, no result is lost"
    )
    assert said[1].startswith("tracking at there: works again after ")
    assert len(said) == 2, "one warning, one line when it is back"


def test_the_end_does_not_wait_out_a_long_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tracking.outbox.FIRST_PAUSE", 3600.0)
    server = Server()
    server.up = False
    outbox = Outbox(server.send, union, "there")
    outbox.put(frozenset({"a"}))
    while not server.failures:
        assert outbox._thread is not None
        outbox._thread.join(0.01)
    server.up = True
    assert outbox.last(frozenset({"b"}), 10)
    assert server.got == [{"a", "b"}]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hangs", [True, False])
def test_a_dead_server_is_given_up(hangs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tracking.outbox.UNSAID", 0.0)
    server = Server()
    server.up = False
    if hangs:
        server.free.clear()
    outbox = Outbox(server.send, union, "there")
    assert not outbox.last(frozenset({"a"}), patience=0.3)
    assert server.got == []
    server.free.set()
    assert outbox._thread is not None
    outbox._thread.join(10)
    assert not outbox._thread.is_alive(), "the thread ends with the search"


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    server.up = False
    outbox = Outbox(server.send, union, "there")
    pauses: list[float] = []

    def wait_for(_done: object, pause: float | None = None) -> bool:
        if pause is not None:
            pauses.append(pause)
            outbox._stop = len(pauses) == 9
        return True

    monkeypatch.setattr(outbox._changed, "wait_for", wait_for)
    outbox.put(frozenset({"a"}))
    assert outbox._thread is not None
    outbox._thread.join(10)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
