"""One column a class, 1 in that of the image: which columns are these, and what do they say?

columns, ignored = find(table, table.header)
labels = read(table, columns)      # None where every cell is empty
"""

import re
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from trainables.data._csv import Csv
from trainables.errors import UserError

WEIGHT = re.compile(r"(^|[\W_])weights?([\W_]|$)", re.IGNORECASE)  # score_weight of ISIC 2018
WORDS = {
    "true": "1", "false": "0", "t": "1", "f": "0", "yes": "1", "no": "0", "y": "1", "n": "0",
    "x": "1", "": "0",
}  # fmt: skip


def find(table: Csv, among: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the one-hot columns of `among`, and those of numbers that are none."""
    values = {name: _numbers(table[name]) for name in table.named if name in among}
    numeric = {name: column for name, column in values.items() if column is not None}
    binary = {
        name: column for name, column in numeric.items()
        if np.isin(column, (0, 1)).all() and not WEIGHT.search(name)
    }  # fmt: skip
    chosen = [*binary]
    if len(chosen) > 2 and np.mean(sum(binary.values()) > 1) > 0.5:  # type: ignore[arg-type]
        chosen = [name for name in chosen if not binary[name].all()]
    one = len(chosen) > 1 and np.mean(sum(binary[name] for name in chosen) == 1) > 0.5
    chosen = chosen if one else []
    return chosen, [name for name in numeric if name not in chosen]


def read(table: Csv, columns: Sequence[str], images: Sequence[str]) -> list[str | None]:
    """Return the class of every row, None if all its cells are empty; UserError for a bad row.

    images: what to call each row in an error.
    """
    cells = [table[name] for name in columns]
    values = np.full((len(columns), len(table)), np.nan)
    for at, column in enumerate(cells):
        found = _numbers(column)
        values[at] = [_number(cell) for cell in column] if found is None else found
    good = (np.isin(values, (0, 1)).all(0)) & (values.sum(0) == 1)
    which = values.argmax(0)
    labels: list[str | None] = [columns[at] for at in which]
    for row in np.flatnonzero(~good).tolist():
        if any(column[row] for column in cells):
            raise _bad(table, row, columns, images[row], values)
        labels[row] = None
    return labels


def _bad(
    table: Csv, row: int, columns: Sequence[str], image: str, values: NDArray[np.float64]
) -> UserError:
    where = f"{table.where(row)} ({image})"
    marked = ", ".join(f"{name}={table[name][row]}" for name in columns if table[name][row])
    many = int((values == 1).sum(0).__gt__(1).sum())
    if many * 2 > len(table):
        return UserError(
            f"{where}: must have one class at 1, as {many} rows have several; try "
            "data.params.labels=many, or fewer data.params.label_columns"
        )
    if np.isin(values[:, row], (0, 1)).all():
        ones = [name for name, value in zip(columns, values[:, row], strict=True) if value]
        marked = ", ".join(f"{name}={table[name][row]}" for name in ones)
    return UserError(
        f"{where}: must have exactly one class at 1.0, not {marked or 'none'}; try mending it"
    )


def _numbers(cells: list[str]) -> NDArray[np.float64] | None:
    """Return the column as numbers, empty cells as 0; None if it is a text."""
    values = {cell: _number(cell) for cell in set(cells)}
    if np.isnan(list(values.values())).any():
        return None
    return np.array([values[cell] for cell in cells])


def _number(cell: str) -> float:
    try:
        return float(WORDS.get(cell.lower(), cell))
    except ValueError:
        return float("nan")
