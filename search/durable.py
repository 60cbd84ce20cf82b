"""Writing so that a crash, even of the machine, leaves the old file or the new one."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"  # what a name begins with until the file is whole


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Whole or not at all, and on the disk when it returns."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f"{TEMPORARY}{path.name}-", delete=False
    ) as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(folder: Path) -> dict[str, int]:
    """Flush every file to the disk; name -> bytes."""
    sizes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sync(path)
        sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    return sizes
