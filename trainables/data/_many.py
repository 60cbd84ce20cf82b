"""Several labels an image: cells as `Edema|Effusion`, or columns of 1, 0, blank and -1.

found = cells(table["Finding Labels"])                      # "Edema|Effusion"; "": none of them
found = columns(table, names, images, uncertain="ignore")   # "Edema|?Effusion": not known
matrix(found, ("Edema", "Effusion"))                        # [[1, -1]]

An image's labels are one text here, so that rows and items are what they are with one label.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainables.data import _labels
from trainables.data._csv import Csv
from trainables.data._onehot import WORDS
from trainables.errors import UserError

JOIN, UNSURE = "|", "?"
IGNORED = -1  # in a matrix: trained and measured without it
NOTHING = frozenset({"nofinding", "nofindings"})  # folded cells that say that no label is true
VALUES = {"ones": 1, "zeros": 0, "ignore": IGNORED}
Uncertain = Literal["ones", "zeros", "ignore"]


def cells(column: Sequence[str]) -> list[str | None]:
    """Return the labels of every cell; None where it is empty."""
    found = _labels.known(column)
    given = sorted({cell for cell in found if cell})
    separator = next((one for one in "|;" if any(one in cell for cell in given)), "")
    separator = separator or _labels.several(given)[0] or JOIN
    joined = {cell: _joined(cell.split(separator)) for cell in given}
    check_names(names(joined.values()))
    return [joined[cell] if cell else None for cell in found]


def _joined(parts: Iterable[str]) -> str:
    stripped = (part.strip() for part in parts)
    return JOIN.join(p for p in dict.fromkeys(stripped) if p and _labels.folded(p) not in NOTHING)


def check_names(labels: Iterable[str]) -> None:
    """Raise UserError for a name that could not be told from several, or from one not known."""
    for label in labels:
        if JOIN in label or label.startswith(UNSURE):
            raise UserError(
                f"label {label}: must have no '{JOIN}' and not begin with '{UNSURE}', which join "
                "and mark labels with data.params.labels=many; try renaming it in the table"
            )


def columns(
    table: Csv, named: Sequence[str], images: Sequence[str], uncertain: Uncertain | None
) -> list[str | None]:
    """Return the labels of every row: 1 is true; 0 and blank are not; -1 is what `uncertain` says.

    A blank means that the report did not mention it, as in CheXpert. Where only whole rows are
    blank, these have no label: None. images: what to call each row in an error.
    """
    check_names(named)
    values = np.stack([_numbers(table, name, images) for name in named], axis=1)
    if uncertain is None:
        _check_certain(table, values, images)
    blank = np.isnan(values)
    whole = np.all(blank, axis=1)
    unknown = whole if not (blank.any(1) & ~whole).any() else np.zeros_like(whole)
    filled = np.where(blank, 0, values)
    filled[filled == IGNORED] = VALUES[uncertain or "ignore"]
    distinct, of = np.unique(filled.astype(np.int8), axis=0, return_inverse=True)
    texts = [_text(named, row) for row in distinct]
    return [None if no else texts[k] for k, no in zip(of.ravel().tolist(), unknown, strict=True)]


def _text(named: Sequence[str], values: NDArray[np.int8]) -> str:
    present = [name for name, value in zip(named, values, strict=True) if value == 1]
    unsure = [f"{UNSURE}{n}" for n, value in zip(named, values, strict=True) if value == IGNORED]
    return JOIN.join([*present, *unsure])


def _numbers(table: Csv, name: str, images: Sequence[str]) -> NDArray[np.float64]:
    """Return a column as 1, 0, -1 and NaN for a blank; UserError for anything else."""
    meaning = {cell: _number(cell) for cell in set(table[name])}
    if wrong := {cell for cell, value in meaning.items() if value is None}:
        row = next(at for at, cell in enumerate(table[name]) if cell in wrong)
        raise UserError(
            f"{table.where(row)} ({images[row]}): must have 1, 0, -1 (uncertain) or nothing in "
            f"column {name}, not {table[name][row]}; try other data.params.label_columns"
        )
    return np.array([meaning[cell] for cell in table[name]], float)


def _number(cell: str) -> float | None:
    if _labels.folded(cell) in _labels.EMPTY:
        return float("nan")
    try:
        value = float(WORDS.get(cell.lower(), cell))
    except ValueError:
        return None
    return value if value in (1, 0, IGNORED) else None


def _check_certain(table: Csv, values: NDArray[np.float64], images: Sequence[str]) -> None:
    rows = np.flatnonzero((values == IGNORED).any(1))
    if len(rows):
        raise UserError(
            f"{table.where(rows[0])} ({images[rows[0]]}): must have 1, 0 or nothing, and "
            f"{int((values == IGNORED).sum())} cells are -1 (uncertain); try "
            "data.params.uncertain=ignore, or ones, or zeros"
        )


def union(labels: Iterable[str | None]) -> str:
    """Return the labels that several rows of one image have together."""
    return renamed(JOIN.join(filter(None, labels)), None)


def names(labels: Iterable[str]) -> list[str]:
    """Return the names of all labels, sorted."""
    return sorted(counts(labels))


def counts(labels: Iterable[str]) -> Counter[str]:
    """Count how often each label is named, known or not."""
    found = Counter[str]()
    for text, times in Counter(labels).items():
        found.update({part.removeprefix(UNSURE): times for part in _parts(text)})
    return found


def renamed(label: str, new: Mapping[str, str] | None) -> str:
    """Return an image's labels under new names, without those that have none."""
    parts = [(part.startswith(UNSURE), part.removeprefix(UNSURE)) for part in _parts(label)]
    kept = [
        (unsure, new[name] if new else name) for unsure, name in parts if not new or name in new
    ]
    present = dict.fromkeys(name for unsure, name in kept if not unsure)
    unsure = dict.fromkeys(name for unsure, name in kept if unsure and name not in present)
    return JOIN.join([*present, *(f"{UNSURE}{name}" for name in unsure)])


def matrix(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """Return [n, classes]: 1 where an image has the label, 0 where not, IGNORED if not known."""
    place, rows = {label: k for k, label in enumerate(classes)}, dict[str, NDArray[np.int64]]()
    for text in set(labels):
        rows[text] = np.zeros(len(classes), np.int64)
        for part in _parts(text):
            value = IGNORED if part.startswith(UNSURE) else 1
            rows[text][place[part.removeprefix(UNSURE)]] = value
    return np.stack([rows[text] for text in labels])


def varying(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [classes] whether a label is true of some images and not of others."""
    found: NDArray[np.bool_] = (values == 1).any(0) & (values == 0).any(0)
    return found


def sentence(values: NDArray[np.int64]) -> str:
    """Describe how many labels images have."""
    labels, ignored = (values == 1).sum(1), (values == IGNORED).sum()
    unsure = f"; {ignored} values are not known and are ignored" if ignored else ""
    several, none = (labels > 1).sum(), (labels == 0).sum()
    return f"{several} images have several labels, {none} have none{unsure}"


def _parts(text: str) -> list[str]:
    return text.split(JOIN) if text else []
