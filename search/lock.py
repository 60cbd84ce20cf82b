"""A lock between processes that the kernel takes back when its holder dies, by whatever signal."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

POLL_SECONDS = 0.2


class Lock:
    """A held lock; released by `release`, by leaving the `with`, or by the process ending."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def flock(path: Path, wait: float | None = 0.0) -> Lock | None:
    """None if another holds it after `wait` seconds (None: for ever). The file stays: removing it
    would let two hold it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    give_up = None if wait is None else time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Lock(descriptor)
        except BlockingIOError:
            if give_up is not None and time.monotonic() >= give_up:
                os.close(descriptor)
                return None
            time.sleep(POLL_SECONDS)
