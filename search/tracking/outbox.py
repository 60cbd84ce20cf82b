"""A thread that sends the latest update; `put` neither blocks nor fails.

    outbox = Outbox(send, merge, "http://head:5000")
    outbox.put(update)                         # from any thread
    outbox.last(update, patience=60.0)         # at the end: True once everything is sent

It holds one update: a newer one is merged into one that waits, so a slow or dead server costs no
memory. A failed update is sent again after a growing pause.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from search.tracking.uri import masked
from trainables.errors import first_line

log = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
UNSAID = 5.0  # seconds of waiting at the end before a message explains it
Update = TypeVar("Update")


class Outbox(Generic[Update]):
    """A sender that logs a warning at its first failure and one when it works again.

    send: yields after each step, which shows that the server answers; may raise anything. merge:
    combines an older and a newer update. where: the address, for messages.
    """

    def __init__(
        self,
        send: Callable[[Update], Iterable[None]],
        merge: Callable[[Update, Update], Update],
        where: str,
    ) -> None:
        self._send, self._merge, self.where = send, merge, where
        self._changed = threading.Condition()
        self._waiting: Update | None = None
        self._busy = self._hurry = self._stop = False
        self._heard, self._steps = 0.0, 0  # time and number of the last new step
        self._away: float | None = None  # time of the first failure
        self._thread: threading.Thread | None = None

    def put(self, update: Update) -> None:
        """Send the update as soon as possible."""
        with self._changed:
            self._keep(update, older=self._waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="tracker", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def last(self, update: Update, patience: float) -> bool:
        """Send the update and end; False without progress for `patience` seconds, or if ended."""
        if self._stop:
            return False
        begun = self._heard = time.monotonic()
        self._steps, self._hurry = 0, True
        self.put(update)
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
        while (update := self._next()) is not None:
            try:
                for step, _ in enumerate(self._send(update), 1):
                    if step > self._steps:  # a step that is repeated is no progress
                        self._heard, self._steps = time.monotonic(), step
                    if self._stop:
                        return
            except Exception as error:  # client libraries raise anything
                self._failed(update, error, pause)
                pause = FIRST_PAUSE if self._hurry else min(2 * pause, LONGEST_PAUSE)
                self._hurry = False
            else:
                pause = FIRST_PAUSE
                self._sent()

    def _next(self) -> Update | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop or self._waiting is not None)
            update, self._waiting = self._waiting, None
            self._busy = not self._stop
            return None if self._stop else update

    def _failed(self, update: Update, error: Exception, pause: float) -> None:
        if self._away is None:
            self._away = time.monotonic()
            log.warning(
                "tracking at %s: failed (%s); tried again, no result is lost",
                self.where, reason(error),
            )  # fmt: skip
        with self._changed:
            newer, self._waiting, self._busy = self._waiting, update, False
            if newer is not None:
                self._keep(newer, older=update)
            self._changed.wait_for(lambda: self._stop or self._hurry, pause)

    def _sent(self) -> None:
        if self._away is not None:
            seconds, self._away = time.monotonic() - self._away, None
            log.warning("tracking at %s: works again after %.0f s", self.where, seconds)
        with self._changed:
            self._busy, self._steps = False, 0
            self._changed.notify_all()

    def _keep(self, update: Update, older: Update | None) -> None:
        self._waiting = update if older is None else self._merge(older, update)


def reason(error: BaseException) -> str:
    """Return the first line of the error's message, without passwords."""
    return masked(first_line(error))
