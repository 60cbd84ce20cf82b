"""Images, rows and files that are not used, with the reason: `left_out.csv`.

write(images.left_out, out / "report")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from search.report.table import write_rows

FILE = "left_out.csv"


def write(left: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Write every name, by reason; no file if there is none."""
    if not left:
        return
    rows = ((name, why) for why, names in left.items() for name in names)
    write_rows(folder / FILE, [("name", "why"), *rows])
