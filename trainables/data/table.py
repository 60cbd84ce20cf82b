"""Any images: one folder of images and one CSV file with a row per image.

    ROOT/images/**/<image>.{jpg,png,tif,...}     parameter `images`
    ROOT/labels.csv                              parameter `csv`; image, label, `group_column`

The image column holds a path or a file name, with or without its ending. The label is a name or a
number in `label_column`, or the one of `label_columns` that is 1. `group_column` names the patient
or lesion (in `groups_csv`, if given), or `group_pattern` finds it in the file's path; an image is
its own patient group where neither tells one. `split_column` holds train, val or test; `splits`
names a list of images for each: names only, or tables in place of `csv`. `source_column` names the
hospital or camera, if given. `where` names columns with the values that rows must have.

With `labels: many` an image may have several: `label_column` holds them as `A|B` (or `No Finding`),
or each of `label_columns` holds 1, 0, nothing (not mentioned, which is 0) or -1, which becomes what
`uncertain` says. A row without any value has no label where all others are filled in.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.data import Dataset, Item, _groups, _labels, _lists, _many, _onehot
from trainables.data._csv import Csv, read_csv
from trainables.data._files import existing
from trainables.data._layout import Wanted, check, lay_out, nested
from trainables.data._match import Files
from trainables.data._parts import parts
from trainables.data._rows import Only, Rows, placed
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
        label_columns: list[Text] | None = None
        labels: Literal["one", "many"] | None = None
        uncertain: _many.Uncertain | None = None
        groups_csv: Place | None = None
        group_pattern: Text | None = None
        split_column: Text | None = None
        splits: _lists.Lists | None = None
        only: Only = None
        where: dict[Text, list[Text] | Text] | None = None

    params: Params

    @property
    def many(self) -> bool:
        return self.params.labels == "many"

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        p = self.params
        root = existing(self.root, f"{p.images}/ and {p.csv}")
        self._check_uncertain()
        whole, listed = None, list[str]()
        if p.splits and not (root / p.csv).exists():
            whole, listed = _lists.joined(p.splits, root)
        table, files = lay_out(root, p.csv, p.images, self._wanted(), whole)
        labels, classes = self._labels(table)
        images = table[p.image_column]
        groups = self._groups(root, table, files)
        sites = table[p.source_column] if p.source_column else [""] * len(table)
        united = self.labelled and self.many and not p.label_columns
        split, left_out = listed or self._parts(root, table), self._left_out(table)
        rows = Rows(images, labels, groups, split, sites, united, left_out)
        self._note(table, files)
        group = _groups.pattern(p.group_pattern, files.paths)
        return placed(rows, files, table, p.only, group, self.notes), classes

    def _wanted(self) -> list[Wanted]:
        p = self.params
        label = ("label_columns", p.label_columns) if p.label_columns else None
        wanted = [("image_column", [p.image_column])]
        wanted += [label or ("label_column", [p.label_column])] if self.labelled else []
        if p.group_column and not p.groups_csv and not p.group_pattern:
            wanted.append(("group_column", [p.group_column]))
        further = {"split_column": p.split_column, "source_column": p.source_column}
        wanted += [(setting, [column]) for setting, column in further.items() if column]
        wanted += [("where", list(p.where))] if p.where else []
        return [Wanted(setting, columns) for setting, columns in wanted]

    def _labels(self, table: Csv) -> tuple[list[str | None], tuple[str, ...]]:
        p = self.params
        if not self.labelled:
            return [None] * len(table), ()
        if p.label_columns and self.many:
            names = table[p.image_column]
            found = _many.columns(table, p.label_columns, names, p.uncertain)
            return found, tuple(p.label_columns)
        if self.many:
            found = _many.cells(table[p.label_column])
            return found, tuple(_many.names(label for label in found if label))
        if p.label_columns:
            labels = _onehot.read(table, p.label_columns, table[p.image_column])
            return labels, tuple(p.label_columns)
        labels = _labels.known(table[p.label_column])
        return labels, tuple(sorted({label for label in labels if label is not None}))

    def _groups(self, root: Path, table: Csv, files: Files) -> list[str]:
        p = self.params
        if p.group_column is None or (p.group_column not in table and not p.groups_csv):
            return [""] * len(table)
        if p.groups_csv is None:
            return table[p.group_column]
        given, image, group = read_csv(nested(root, p.groups_csv)), p.image_column, p.group_column
        wanted = [Wanted("image_column", [image]), Wanted("group_column", [group])]
        check(root, given, files, wanted)
        self.notes.read(given, image=image, group=group)
        return _groups.column(given, image, group, table[image])

    def _parts(self, root: Path, table: Csv) -> list[str]:
        p = self.params
        if p.split_column:
            where = f"{table.path}, column {p.split_column}"
            return parts(table[p.split_column], where)
        if p.splits:
            return _lists.assigned(p.splits, root, p.image_column, table[p.image_column])
        return [""] * len(table)

    def _left_out(self, table: Csv) -> dict[int, str]:
        """Return why rows are left out: another value than `where` names for a column."""
        found = dict[int, str]()
        for column, given in (self.params.where or {}).items():
            cells, at = table[column], f"data.params.where.{column}"
            values, known = [given] if isinstance(given, str) else given, sorted(set(cells))
            kept = {_labels.find(value, known, at) for value in values}
            why = f"images whose {column} is not {' or '.join(values)}"
            found |= {row: why for row, cell in enumerate(cells) if cell not in kept}
        return found

    def _check_uncertain(self) -> None:
        p = self.params
        if p.uncertain and not (self.many and p.label_columns):
            raise UserError(
                f"data.params.uncertain={p.uncertain}: must be null unless data.params.labels=many "
                "and data.params.label_columns names columns with -1; try null"
            )

    def _note(self, table: Csv, files: Files) -> None:
        roles = {one.setting.partition("_")[0]: ", ".join(one.columns) for one in self._wanted()}
        self.notes.read(table, **roles)
        self.notes.beside(files.found)
