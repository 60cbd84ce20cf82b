"""The end of the command: at once, and nothing of it stays behind.

Threads whose worker group is still coming up can't be ended, nor go on without Ray: so what is left
of Ray is killed, and then what its processes have written is removed.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from search.console import interrupt

_scratch: list[Path] = []


def without(folder: Path) -> None:
    """Remove this folder, if it is there, when the command leaves."""
    _scratch.append(folder)


def leave(status: int) -> NoReturn:
    import psutil

    interrupt.ignore()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    children = psutil.Process().children(recursive=True)
    for process in children:
        with suppress(psutil.Error):
            process.kill()
    if _scratch:
        psutil.wait_procs(children, timeout=1)
    for folder in _scratch:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(status)
