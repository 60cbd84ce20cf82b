"""A split given as one list of images a part: names only, or tables with labels.

parts = assigned(lists, root, "image", images)     # "" for an image in no list
table, parts = joined(lists, root)                 # where the lists are the only tables
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainables.data._csv import Csv, read_csv, read_names
from trainables.data._files import some
from trainables.data._match import key, plain
from trainables.errors import UserError
from trainables.schema import Place, Schema


@dataclass(frozen=True)
class Lists(Schema):
    """A file for each part, relative to the data set's folder."""

    train: Place
    val: Place | None = None
    test: Place | None = None

    def files(self, root: Path) -> dict[str, Path]:
        given = {"train": self.train, "val": self.val, "test": self.test}
        return {part: root / path for part, path in given.items() if path}


def assigned(lists: Lists, root: Path, column: str, images: Sequence[str]) -> list[str]:
    """Return the part of every image; UserError if one is in two lists."""
    known, twice = dict[str, str](), list[str]()
    for part, path in lists.files(root).items():
        for name in _names(path, column):
            if known.setdefault(key(plain(name)), part) != part:
                twice.append(name)
    if twice:
        raise UserError(
            f"data.params.splits.train={lists.train}: must share no image with the other lists, "
            f"and {len(twice)} images are in two ({some(twice)}); try taking them out of one"
        )
    keys = [key(plain(name)) for name in images]
    return [known.get(at) or known.get(at.rpartition("/")[2], "") for at in keys]


def _names(path: Path, column: str) -> Sequence[str]:
    """Return the images of one list: a column of a table, or a plain list without a header."""
    table = read_csv(path)
    if column in table:
        return table[column]
    if len(table.header) > 1:
        raise UserError(
            f"{path}: must have the column {column} in its header ({', '.join(table.named)}); try "
            f"to set data.params.image_column={table.named[0]}"
        )
    return read_names(path)


def joined(lists: Lists, root: Path) -> tuple[Csv, list[str]]:
    """Return the rows of all lists as one table, and the part of each."""
    tables = {part: read_csv(path) for part, path in lists.files(root).items()}
    first = next(iter(tables.values()))
    for table in tables.values():
        if set(table.header) != set(first.header):
            raise UserError(
                f"{table.path}: must have the columns of {first.path.name} "
                f"({', '.join(first.named)}), has {', '.join(table.named)}; try the same header"
            )
    columns = [[cell for table in tables.values() for cell in table[name]] for name in first.header]
    lines = [line for table in tables.values() for line in table.lines]
    parts = [part for part, table in tables.items() for _ in table.lines]
    paths = [table.path for table in tables.values() for _ in table.lines]
    return replace(first, columns=columns, lines=lines, paths=paths), parts
