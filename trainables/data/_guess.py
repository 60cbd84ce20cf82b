"""The likeliest values of missing settings, from the cells of a table and the files beside it.

guess_images(table, files); guess_label(table, taken); guess_patient(table, taken)
missing(root, ["no column 'image' in labels.csv"], {"image_column": "filename"})   # the UserError
"""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trainables.data import _onehot
from trainables.data._csv import ENDINGS, Csv, read_csv
from trainables.data._match import Files
from trainables.errors import UserError
from trainables.plugins import near

SAMPLE = 300  # rows read
CLASSES = 50  # more values than these are no labels
PATIENT = re.compile(r"patient|subject|person|participant|\bpid\b|lesion|case|study|group", re.I)
LABEL = re.compile(r"label|\bdx\b|diagnos|class|finding|target|categor|disease|patholog", re.I)
WORKBOOKS = frozenset({".xlsx", ".xls", ".ods"})
SAFE = re.compile(r"[\w./ -]*[\w./-]")  # needs no quotes in Hydra's grammar


def guess_images(table: Csv, files: Files, wanted: str) -> str:
    """Return the column whose cells are names of files; "" if none is."""
    found = {name: _found(table[name], files) for name in table.named}
    best = max(found, key=found.__getitem__, default="")
    return best if best and found[best] > 0.3 else near(wanted, table.named)


def guess_label(table: Csv, wanted: str, taken: Collection[str]) -> str:
    """Return the column of few, repeated values with the likeliest name; "" if there is none."""
    if alike := near(wanted, [name for name in table.named if name not in taken]):
        return alike
    fit = [name for name in table.named if name not in taken and _repeats(table[name])]
    named = [name for name in fit if LABEL.search(name)]
    texts = [name for name in fit if not any(map(str.isdigit, table[name][:SAMPLE]))]
    return next(iter((*named, *texts, *fit)), "")


def guess_patient(table: Csv, wanted: str, taken: Collection[str]) -> str:
    """Return the column that names patients or lesions, with most values; "" if there is none."""
    fit = [name for name in table.named if name not in taken]
    named = [name for name in fit if PATIENT.search(name.replace("_", " "))]
    most = max(named, key=lambda name: len(set(table[name])), default="")
    return most or near(wanted, fit)


def guess_one_hot(table: Csv, taken: Collection[str]) -> list[str]:
    return _onehot.find(table, [name for name in table.named if name not in taken])[0]


def _found(cells: Sequence[str], files: Files) -> float:
    step = max(1, len(cells) // SAMPLE)
    sample = [cell for cell in cells[::step] if cell]
    return sum(bool(files.find(cell).files) for cell in sample) / max(1, len(cells[::step]))


def _repeats(cells: Sequence[str]) -> bool:
    distinct = set(cells) - {""}
    return 1 < len(distinct) <= min(CLASSES, max(2, len(cells) // 3))


def tables(root: Path) -> list[str]:
    """List the files that may be tables, by path under `root`, at most two folders deep."""
    found = [path for deep in ("*", "*/*", "*/*/*") for path in root.glob(deep)]
    return sorted(
        path.relative_to(root).as_posix() for path in found
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()
    )  # fmt: skip


def workbooks(root: Path) -> str:
    """Name the workbooks in a folder, with what to do about them."""
    found = sorted(path.name for path in root.iterdir() if path.suffix.lower() in WORKBOOKS)
    return f"; save {found[0]} as CSV" if found else ""


def table(root: Path, files: Files) -> str:
    """Return the table whose cells name most files; "" if there is none."""
    found_in = dict[str, float]()
    for path in tables(root):
        with suppress(UserError):
            read = read_csv(root / path)
            found_in[path] = max((_found(read[name], files) for name in read.named), default=0.0)
    return max(found_in, key=found_in.__getitem__, default="")


def naming(root: Path, files: Files) -> str:
    """Return the table that names files of a folder; "" if none does."""
    found = table(root, files)
    read = read_csv(root / found) if found else None
    return found if read and any(_found(read[name], files) > 0.3 for name in read.named) else ""


def missing(root: Path, problems: Sequence[str], settings: Mapping[str, object]) -> UserError:
    """Return the error that names all that is missing, and settings that fit."""
    told = " ".join(setting(name, value) for name, value in settings.items())
    return UserError(
        f"--data={root}: must hold what the settings name: {'; '.join(problems)}; "
        f"try to set {told or 'another --data folder'}"
    )


def setting(name: str, value: object) -> str:
    """Write `data.params.NAME=VALUE` as the shell and Hydra take it."""
    if isinstance(value, list):
        return shlex.quote(f"data.params.{name}=[{','.join(map(_quoted, value))}]")
    return shlex.quote(f"data.params.{name}={'null' if value is None else _quoted(str(value))}")


def _quoted(text: str) -> str:
    escaped = text.replace("'", "\\'")
    return text if SAFE.fullmatch(text) else f"'{escaped}'"
