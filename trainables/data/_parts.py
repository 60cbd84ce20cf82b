"""Names that data sets give to the parts of their own split."""

from collections.abc import Sequence

from trainables.errors import UserError

NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "tune": "val",
    "test": "test", "testing": "test", "tst": "test", "holdout": "test", "hold_out": "test",
}  # fmt: skip


def part(name: str) -> str:
    """Return train, val or test for a name of one; "" for any other."""
    return NAMES.get(name.strip().casefold(), "")


def parts(cells: Sequence[str], where: str) -> list[str]:
    """Return the part of every row of a column, "" where it is empty; UserError if unknown."""
    known = {cell: part(cell) for cell in set(cells)}
    if wrong := sorted(cell for cell, name in known.items() if cell and not name):
        raise UserError(
            f"{where}: must say train, val or test, and says {', '.join(wrong[:5])}; try another "
            "column, or renaming them"
        )
    return [known[cell] for cell in cells]
