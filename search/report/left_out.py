"""Images, rows and files that are not used, with the reason: `left_out.csv`.

write(images.notes, out / "report")
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from trainables.data._understood import Notes

FILE = "left_out.csv"


def write(notes: Sequence[Notes], folder: Path) -> None:
    """Write every name that was noted; no file if there is none."""
    found = [(name, why) for one in notes for why, names in one.names.items() for name in names]
    if not found:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "why"))
        rows.writerows(found)
