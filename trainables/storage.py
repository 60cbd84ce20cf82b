"""File names of the stage store that both sides use: its stamp, a running stage's checkpoint.

A worker compares `store_id(root)` with `StageStore.id`: equal only on one shared store.
Standard library only.
"""

import json
from pathlib import Path

STAMP = "STORE.json"  # {"format": ..., "id": ...} at the store's root
SEGMENTER = "segmenter.safetensors"  # of a fine-tuning on masks; what draws others
CHECKPOINT = "checkpoint.safetensors"  # in a stage's folder until the stage is finished


def store_id(root: Path) -> str | None:
    """Return the random id of the store at `root`, or None if no store can be read there."""
    try:
        found = json.loads((root / STAMP).read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None
