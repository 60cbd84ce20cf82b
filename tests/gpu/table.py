"""The check's one table: a JSON file, whole after every row."""

import json
import time
from pathlib import Path

from trainables.durable import write_json


class Table:
    """Rows of one part of the check. `seconds` are counted from the start of the check."""

    def __init__(self, file: Path, part: str) -> None:
        self.file, self.part = file, part

    @staticmethod
    def begin(file: Path) -> None:
        write_json(file, {"begun": time.time(), "rows": []})

    def put(self, row: str, value: float | str, unit: str = "") -> None:
        """Add a row, or replace the one of this name."""
        content = json.loads(self.file.read_text())
        seconds = round(time.time() - content["begun"], 1)
        new = {"part": self.part, "row": row, "value": value, "unit": unit, "seconds": seconds}
        rows = {(one["part"], one["row"]): one for one in content["rows"]}
        if (self.part, row) not in rows:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{seconds:6.1f} s  {self.part:8} {row:44} {shown} {unit}", flush=True)
        rows[self.part, row] = new
        write_json(self.file, {**content, "rows": list(rows.values())}, indent=1)
