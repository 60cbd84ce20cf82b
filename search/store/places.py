"""Checks of the folders that a search will write to; they create nothing."""

import json
import os
from pathlib import Path

from search.store.stage_store import STAMP
from trainables.errors import UserError
from trainables.spec import FORMAT


def check_writable(where: str, folder: Path) -> None:
    """Raise UserError unless the folder, or its nearest existing parent, is writable.

    where: the option that names it.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:  # too long a name, no permission to enter
        raise _refused(where, folder, error.strerror or "not reachable") from None
    if not nearest.is_dir():
        raise _refused(where, folder, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise _refused(where, folder, f"{nearest} is read-only")


def check_format(store: Path) -> None:
    """Raise UserError if the store was written by a version with another format."""
    try:
        found = json.loads((store / STAMP).read_bytes())["format"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        found = "unreadable"
    if found != FORMAT:
        raise UserError(
            f"store={store}: must be of format {FORMAT}, which this version writes, not {found}; "
            "try another one"
        )


def _refused(where: str, folder: Path, reason: str) -> UserError:
    return UserError(f"{where}={folder}: must be a folder to write to ({reason}); try another one")
