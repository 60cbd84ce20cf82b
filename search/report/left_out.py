"""Images, rows and files that are not used, with the reason: `left_out.csv`.

write(images.source.images.notes, out / "report")
"""

import csv
from pathlib import Path

from trainables.data._understood import Notes

FILE = "left_out.csv"


def write(notes: Notes, folder: Path) -> None:
    """Write every name that was noted; no file if there is none."""
    if not notes.names:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "why"))
        rows.writerows((name, why) for why, names in notes.names.items() for name in names)
