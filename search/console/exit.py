"""The end of the command: by a signal, by a fault, or because it is done.

    exit.listen()           # Ctrl-C, SIGTERM, SIGHUP and Slurm's SIGUSR1 raise KeyboardInterrupt
    exit.heard()            # once it is handled; until then it is raised again every few seconds
    exit.discard(folder)    # remove this folder at the end
    exit.leave(status)      # never returns

Some libraries swallow every exception while they are being imported, hence the repetition. Threads
that wait for Ray cannot be ended, so `leave` kills Ray's processes and removes what they wrote.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

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
_on_terminal = [stream for stream in (1, 2) if os.isatty(stream)]  # unknown after a hangup
_discarded: list[Path] = []


def listen() -> None:
    """Make each of the signals raise KeyboardInterrupt in the main thread.

    A signal that was ignored from the start (nohup) stays ignored. Call it again after a library
    has set handlers of its own.
    """
    for number in (*STATUS, signal.SIGALRM):  # SIGALRM repeats the last signal
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def status() -> int:
    """Return the exit status after the last signal."""
    return STATUS[_received]


def heard() -> None:
    """Call when the exception is handled: stops the re-raising."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def children_spared() -> Iterator[None]:
    """Shield processes started in the block from what a terminal or Slurm sends to a whole job.

    Workers then live long enough to leave a checkpoint. Ray ends its own processes by SIGTERM.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGUSR1})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def abandon(over: threading.Event, seconds: float, fault: str) -> None:
    """Raise MachineFault(fault) in the main thread unless `over` is set within `seconds`.

    It is raised again every few seconds until `heard`.
    """
    global _fault  # noqa: PLW0603
    if not over.wait(seconds):
        _fault = fault
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)


def discard(folder: Path) -> None:
    """Remove this folder, if it exists, when the command ends."""
    _discarded.append(folder)


def leave(status: int) -> NoReturn:
    """Kill all child processes, remove the discarded folders and exit at once."""
    import psutil

    heard()
    for number in (*STATUS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # its reader has closed it
            stream.flush()
    children = psutil.Process().children(recursive=True)
    for process in children:
        with suppress(psutil.Error):
            process.kill()
    if _discarded:
        psutil.wait_procs(children, timeout=1)
    for folder in _discarded:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(status)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    global _received  # noqa: PLW0603
    if number in STATUS:
        _received = signal.Signals(number)
        for repeated in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(repeated, signal.SIG_IGN)  # but a second Ctrl-C ends at once
    if number == signal.SIGHUP:  # writing to a closed terminal is an error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in _on_terminal:
            os.dup2(nowhere, stream)
    signal.setitimer(signal.ITIMER_REAL, INSIST_SECONDS)
    if _fault:
        raise MachineFault(_fault)
    raise KeyboardInterrupt
