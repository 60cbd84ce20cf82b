"""The files and texts that a tracker gets; the report's folder always has everything.

A remote tracker gets numbers, curves and aggregates: no page, no patient's image, no name of an
image, patient or path, and so no free text such as the reason of a fault. With
`report.share_images=true` every tracker gets everything, with `false` every one only aggregates.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from search.report import attention, duplicates, left_out, page
from search.report.table import Table
from search.tracking.uri import Address

Level = Literal["everything", "no names", "aggregates"]
TABLE, SUMMARY = "chains.csv", "summary.json"
# An explicit list, so that a new figure is not shared before a review.
NAMES = (
    "tree", "intervals", "label_curve", "regret", "confusion", "learning", "finetuning",
    "lr_ranges", "pretext",
)  # fmt: skip
FIGURES = tuple(f"{name}.png" for name in NAMES)
FREE_TEXT = ("reason", "incomplete", "fresh_missing")


def level(address: Address, share_images: bool | None) -> Level:
    """Return the level; by default a local tracker gets the page, but no list of names."""
    if share_images is not None:
        return "everything" if share_images else "aggregates"
    return "aggregates" if address.remote else "no names"


def free_text(text: str, level: Level) -> str:
    """Return the text, or "" if it may not leave."""
    return "" if level == "aggregates" else text


def copy(
    level: Level, report: Path, table: Table, summary: Mapping[str, Any], folder: Path
) -> None:
    """Copy the files of `report` that the level allows to `folder`, without free text."""
    sent = [path for path in report.iterdir() if path.is_file() and _may_leave(path.name, level)]
    for path in sent:
        shutil.copyfile(path, folder / path.name)
    if level == "aggregates":
        silent = tuple(replace(row, reason="") for row in table.rows)
        replace(table, rows=silent).write_csv(folder / TABLE)
        (folder / SUMMARY).write_text(json.dumps(_without_text(summary), indent=2) + "\n")


def _may_leave(name: str, level: Level) -> bool:
    if level == "aggregates":
        return name in FIGURES
    hidden = (duplicates.FILE, left_out.FILE, page.IMAGES, attention.FIGURE)
    return level == "everything" or name not in hidden


def _without_text(value: Any) -> Any:
    """Return the value with "" at every key in FREE_TEXT, at any depth."""
    if isinstance(value, Mapping):
        return {k: "" if k in FREE_TEXT else _without_text(v) for k, v in value.items()}
    return [_without_text(one) for one in value] if isinstance(value, list | tuple) else value
