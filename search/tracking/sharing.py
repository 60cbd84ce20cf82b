"""What a tracker is given. The report's folder keeps everything; what leaves it is decided here.

A remote tracker gets numbers, curves and aggregates: no page and no picture of a patient, no name
of an image, patient or path, and so no free text such as the reason of a fault. With
`report.share_images=true` every tracker gets all of it, with `false` none does.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from search.report import duplicates
from search.report.table import Table
from search.tracking.uri import Address

Level = Literal["everything", "no names", "aggregates"]
TABLE, SUMMARY = "chains.csv", "summary.json"
# By name, so that a figure that comes later stays here until somebody has looked at it.
FIGURES = tuple(
    f"{name}.png"
    for name in ("tree", "intervals", "regret", "confusion", "finetuning", "lr_ranges", "pretext")
)
FREE_TEXT = ("reason", "incomplete")


def level(address: Address, share_images: bool | None) -> Level:
    """A tracker on this machine gets the page, but no list of names."""
    if share_images is not None:
        return "everything" if share_images else "aggregates"
    return "aggregates" if address.remote else "no names"


def free_text(text: str, level: Level) -> str:
    return "" if level == "aggregates" else text


def copy(
    level: Level, report: Path, table: Table, summary: Mapping[str, Any], folder: Path
) -> None:
    """Put those of the report's files into the folder that may be sent, without free text."""
    sent = [path for path in report.iterdir() if path.is_file() and _may_leave(path.name, level)]
    for path in sent:
        shutil.copyfile(path, folder / path.name)
    if level == "aggregates":
        Table(tuple(replace(row, reason="") for row in table.rows)).write_csv(folder / TABLE)
        (folder / SUMMARY).write_text(json.dumps(_without_text(summary), indent=2) + "\n")


def _may_leave(name: str, level: Level) -> bool:
    if level == "aggregates":
        return name in FIGURES
    return level == "everything" or name != duplicates.FILE


def _without_text(value: Any) -> Any:
    """The value with an empty text at every key of FREE_TEXT, however deep."""
    if isinstance(value, Mapping):
        return {k: "" if k in FREE_TEXT else _without_text(v) for k, v in value.items()}
    return [_without_text(one) for one in value] if isinstance(value, list | tuple) else value
