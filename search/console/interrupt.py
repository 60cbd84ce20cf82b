"""Signals that end a search: Ctrl-C, SIGTERM, SIGHUP and Slurm's SIGUSR1, insisted on.

Some libraries swallow any exception while they are being imported, KeyboardInterrupt with the rest.
So it is raised again every few seconds until `heard` is called.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trainables.errors import MachineFault

INSIST_SECONDS = 5.0
STATUS = {  # exit status by signal; after SIGUSR1 the same command goes on later, so all is well
    signal.SIGINT: 130,
    signal.SIGTERM: 143,
    signal.SIGHUP: 129,
    signal.SIGUSR1: 0,
}
_received = signal.SIGINT
_fault = ""
_on_terminal = [stream for stream in (1, 2) if os.isatty(stream)]  # afterwards it can't be asked


def listen() -> None:
    """From now on each of the signals raises KeyboardInterrupt in the main thread.

    One that was ignored from the start (nohup) stays ignored. To be called again after libraries
    that set handlers of their own.
    """
    for number in (*STATUS, signal.SIGALRM):  # the last one is our own insisting
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def status() -> int:
    """Exit status after the last signal."""
    return STATUS[_received]


def heard() -> None:
    """Call when the exception is handled: stops the re-raising."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def ignore() -> None:
    """From now on nothing is raised any more."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in (*STATUS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def children_spared() -> Iterator[None]:
    """Processes started in the block never get what a terminal or Slurm sends to a whole job.

    So workers live on to leave a checkpoint. SIGTERM stays: Ray ends its own processes by it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def abandon(over: threading.Event, seconds: float, fault: str) -> None:
    """Raise MachineFault in the main thread unless `over` is set within so many seconds."""
    global _fault  # noqa: PLW0603
    if not over.wait(seconds):
        _fault = fault
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    global _received  # noqa: PLW0603
    if number in STATUS:
        _received = signal.Signals(number)
        for repeated in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(repeated, signal.SIG_IGN)  # one is enough; a second Ctrl-C counts
    if number == signal.SIGHUP:
        _let_go_of_the_terminal()
    signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS)
    if _fault:
        raise MachineFault(_fault)
    raise KeyboardInterrupt


def _let_go_of_the_terminal() -> None:
    """It is gone: what is written to it would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in _on_terminal:
        os.dup2(nowhere, stream)
