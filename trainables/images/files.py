"""Checks of a user's files before one is opened."""

import os
import stat
from pathlib import Path

from trainables.errors import UserError

KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def regular(path: Path) -> os.stat_result:
    """Return a file's status; UserError for anything else, as opening a pipe may never return."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: must be readable ({error.strerror}); try its rights") from error
    if not stat.S_ISREG(found.st_mode):
        kind = KINDS.get(stat.S_IFMT(found.st_mode), "special file")
        raise UserError(f"{path}: must be a file, is a {kind}; try moving it out of the data")
    return found
