"""Images, rows and files that are not used, with the reason: `left_out.csv`.

write(images.left_out, out / "report")
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

FILE = "left_out.csv"


def write(left: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Write every name, by reason; no file if there is none."""
    if not left:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("name", "why"))
        rows.writerows((name, why) for why, names in left.items() for name in names)
