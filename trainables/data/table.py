"""Any labelled images: one folder of images and one CSV file with a row per image.

    ROOT/images/**/<image>.{jpg,png,tif,...}     parameter `images`
    ROOT/labels.csv                              parameter `csv`; image, label, `group_column`

The image column holds the path under the folder of images or the file name, each with or without
its suffix. `group_column` names the patient or lesion; an image is its own patient group where its
cell is empty or `group_column` is null. `source_column` names the hospital or camera, if given.
"""

from dataclasses import dataclass
from pathlib import Path

from trainables.data import Dataset, Item
from trainables.data._files import check_distinct, existing, match_files, read_csv
from trainables.errors import UserError
from trainables.schema import Place, Text


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        images: Place = "images"
        csv: Place = "labels.csv"
        image_column: Text = "image"
        label_column: Text = "label"
        group_column: Text | None = "group"
        source_column: Text | None = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        p = self.params
        root = existing(self.root, f"{p.images}/ and {p.csv}")
        if not (root / p.images).is_dir():
            raise UserError(
                f"data.params.images={p.images}: must be a folder in {root}; try the --data folder "
                f"that holds {p.images}/ and {p.csv}"
            )
        csv, image, label, group = root / p.csv, p.image_column, p.label_column, p.group_column
        rows = read_csv(csv, [image, label, *filter(None, (group, p.source_column))])
        _check(csv, rows, image, label)
        files = match_files(root / p.images, csv, [row[image] for row in rows], _names)
        items = [
            Item(
                row[image], row[label], (group and row[group]) or row[image], files[row[image]],
                row[p.source_column] if p.source_column else "",
            )
            for row in rows
        ]  # fmt: skip
        return items, tuple(sorted({row[label] for row in rows}))


def _check(csv: Path, rows: list[dict[str, str]], image: str, label: str) -> None:
    """Raise UserError unless every row names a class and an image of its own."""
    for line, row in enumerate(rows, start=2):
        if not row[image] or not row[label]:
            empty = label if row[image] else image
            raise UserError(
                f"{csv}, row {line}: must have a value in column {empty}; try filling the cell, or "
                "taking the row out"
            )
    check_distinct(csv, rows, image)


def _names(file: Path) -> set[str]:
    """Return the names a row may use for a file; names may hold dots before the real suffix."""
    path, ending = file.as_posix(), len(file.suffix)
    return {path, path[:-ending], file.name, file.stem}
