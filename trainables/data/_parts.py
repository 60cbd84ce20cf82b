"""Names that data sets give to the parts of their own split."""

import re
from collections.abc import Iterable, Sequence

from trainables.errors import UserError

NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "tune": "val",
    "test": "test", "testing": "test", "tst": "test", "holdout": "test", "hold_out": "test",
    "trainset": "train", "valset": "val", "validset": "val", "testset": "test",
}  # fmt: skip
WORDS = re.compile(r"[^\W\d_]?[^\W\d_A-Z]+|[A-Z]+|\d+")  # of Part3_TrainData
FILLING = frozenset({"set", "data", "dataset", "images", "image", "imgs", "img", "split"})


def part(name: str) -> str:
    """Return train, val or test for a name of one; "" for any other."""
    found, rest = _parsed(name)
    return "" if rest else found


def folders(names: Iterable[str]) -> dict[str, str]:
    """Return the part of every folder of a split: `stage_1_train`, `stage_1_test`; {} for none.

    Such names have all words in common but that of the part, one part of them train.
    """
    alike = dict[str, dict[str, str]]()
    for name in names:
        found, rest = _parsed(name)
        if found:
            alike.setdefault(rest, {})[name] = found
    splits = [one for one in alike.values() if len({*one.values()}) > 1 and "train" in one.values()]
    return max(splits, key=len, default={})


def _parsed(name: str) -> tuple[str, str]:
    """Return the part that a name tells, "" unless it tells one, and its other words."""
    if whole := NAMES.get(name.strip().casefold()):
        return whole, ""
    words = [word.casefold() for word in WORDS.findall(name)]
    found = {NAMES[word] for word in words if word in NAMES}
    rest = [word for word in words if word not in NAMES and word not in FILLING]
    return (found.pop() if len(found) == 1 else ""), " ".join(rest)


def parts(cells: Sequence[str], where: str) -> list[str]:
    """Return the part of every row of a column, "" where it is empty; UserError if unknown."""
    known = {cell: part(cell) for cell in set(cells)}
    if wrong := sorted(cell for cell, name in known.items() if cell and not name):
        raise UserError(
            f"{where}: must say train, val or test, and says {', '.join(wrong[:5])}; try another "
            "column, or renaming them"
        )
    return [known[cell] for cell in cells]
