"""A thread that sends the latest news. Whoever puts something in never waits and never fails.

    outbox = Outbox(send, merge, "http://head:5000")
    outbox.put(news)                           # from any thread, at once
    outbox.last(news, patience=60.0)           # at the end: True once everything is sent

It holds one piece of news: what comes before the last was sent is merged into it, so a server that
is slow or dead costs no memory. What fails is tried again after a pause that grows.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from search.tracking.uri import masked

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
UNSAID = 5.0  # seconds that the end may take before it is said what is waited for
News = TypeVar("News")


class Outbox(Generic[News]):
    """One sender. A warning when it fails for the first time, and one when it works again.

    send: yields after each step, which shows that somebody answers; it may raise anything.
    merge: older and newer news as one piece.
    """

    def __init__(
        self,
        send: Callable[[News], Iterable[None]],
        merge: Callable[[News, News], News],
        where: str,
    ) -> None:
        self._send, self._merge, self.where = send, merge, where
        self._changed = threading.Condition()
        self._waiting: News | None = None
        self._busy = self._hurry = self._stop = False
        self._heard, self._steps = 0.0, 0  # when it last came further, and how far it came
        self._away: float | None = None  # since when it fails
        self._thread: threading.Thread | None = None

    def put(self, news: News) -> None:
        """Send this as soon as possible."""
        with self._changed:
            self._keep(news, older=self._waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def last(self, news: News, patience: float) -> bool:
        """Send this and end; False if it came no further for `patience` seconds, or has ended."""
        if self._stop:
            return False
        begun = self._heard = time.monotonic()
        self._steps, self._hurry = 0, True
        self.put(news)
        said = False
        with self._changed:
            while self._busy or self._waiting is not None:
                now = time.monotonic()
                if now - self._heard > patience:
                    break
                if not said and now - begun > UNSAID:
                    log.warning(
                        "tracking at %s: waiting for its answer, up to %.0f s",
                        self.where, patience,
                    )  # fmt: skip
                    said = True
                self._changed.wait(0.2)
            self._stop = True
            self._changed.notify_all()
            return not self._busy and self._waiting is None

    # -- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while (news := self._next()) is not None:
            try:
                for step, _ in enumerate(self._send(news), 1):
                    self._step(step)
                    if self._stop:
                        return
            except Exception as error:  # whatever a client library raises
                self._failed(news, error, pause)
                pause = FIRST_PAUSE if self._hurry else min(2 * pause, LONGEST_PAUSE)
                self._hurry = False
            else:
                pause = FIRST_PAUSE
                self._sent()

    def _next(self) -> News | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop or self._waiting is not None)
            news, self._waiting = self._waiting, None
            self._busy = not self._stop
            return None if self._stop else news

    def _step(self, step: int) -> None:
        """A step that an earlier try came to as well is no progress: else it never ends."""
        if step > self._steps:
            self._heard, self._steps = time.monotonic(), step

    def _failed(self, news: News, error: Exception, pause: float) -> None:
        if self._away is None:
            self._away = time.monotonic()
            log.warning(
                "tracking at %s: failed (%s); tried again, no result is lost",
                self.where, reason(error),
            )  # fmt: skip
        with self._changed:
            newer, self._waiting, self._busy = self._waiting, news, False
            if newer is not None:
                self._keep(newer, older=news)
            self._changed.wait_for(lambda: self._stop or self._hurry, pause)

    def _sent(self) -> None:
        if self._away is not None:
            gone, self._away = time.monotonic() - self._away, None
            log.warning("tracking at %s: works again after %.0f s", self.where, gone)
        with self._changed:
            self._busy, self._steps = False, 0
            self._changed.notify_all()

    def _keep(self, news: News, older: News | None) -> None:
        self._waiting = news if older is None else self._merge(older, news)


def reason(error: BaseException) -> str:
    """Return the first line of what it says, without passwords."""
    lines = str(error).strip().splitlines()
    return masked(lines[0]) if lines else type(error).__name__
