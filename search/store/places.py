"""Checks of the folders that a search will write to, and of a store's format; create nothing."""

import json
import os
from pathlib import Path

from trainables.durable import refused
from trainables.errors import UserError
from trainables.spec import FORMAT
from trainables.storage import STAMP


def check_writable(where: str, folder: Path) -> None:
    """Raise UserError unless the folder, or its nearest existing parent, is writable.

    where: the option that names it.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:  # too long a name, no permission to enter
        raise refused(where, folder, error.strerror or "not reachable") from None
    if not nearest.is_dir():
        raise refused(where, folder, f"{nearest} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise refused(where, folder, f"{nearest} is read-only")


def stamped(store: Path) -> str | None:
    """Return the id of the store in a folder, None if there is none; UserError for another format.

    Without an id in its stamp the store is new, or was being made as the process was killed.
    """
    try:
        found = json.loads((store / STAMP).read_bytes())
        written = found["format"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        written = "unreadable"
    if written != FORMAT:
        raise UserError(
            f"store={store}: must be of format {FORMAT}, which this version writes, not {written}; "
            "try another store="
        )
    return found.get("id")
