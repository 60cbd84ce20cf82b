"""Ctrl-C and SIGTERM, insisted on.

Some libraries swallow any exception while they are being imported, KeyboardInterrupt with the rest.
So it is raised again every few seconds until somebody has `heard` it.
"""

import signal
from types import FrameType

INSIST_SECONDS = 5.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)  # the last one is our own insisting


def listen() -> None:
    """From now on either signal raises KeyboardInterrupt in the main thread."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def heard() -> None:
    """For who handles the exception: it does not come again by itself."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def ignore() -> None:
    """From now on nothing is raised any more."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS)
    raise KeyboardInterrupt
