"""NIH ChestX-ray14, as its makers distribute it, and ChestX-ray8, its first eight findings.

    ROOT/images_001/images/00000001_000.png, ...         in any folders
    ROOT/Data_Entry_2017.csv, or Data_Entry_2017_v2020.csv, which replaces it
    ROOT/train_val_list.txt, ROOT/test_list.txt          `splits`; of the first, validation is drawn

With `findings: 8` the other six findings are as if no report mentioned them: No Finding is an image
with none of the eight, and a finding is isolated if it is the only one of the eight. With `labels:
one` the classes are No Finding and each isolated finding; an image with several has no label, so
pretext tasks may see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from trainables.data import Item, _guess, _many, table
from trainables.data._csv import Csv
from trainables.data._files import existing
from trainables.errors import UserError
from trainables.schema import Place, Text

NOTHING = "No Finding"
FINDINGS = {
    8: (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
        "Pneumothorax",
    ),
    14: (
        "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema",
        "Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia",
        "Pneumothorax",
    ),
}  # fmt: skip
ENTRIES = "Data_Entry_2017"


class Plugin(table.Plugin):
    @dataclass(frozen=True)
    class Params(table.Plugin.Params):
        findings: Literal[8, 14] = 14
        images: Place = "."
        csv: Place = f"{ENTRIES}.csv"
        image_column: Text = "Image Index"
        label_column: Text = "Finding Labels"
        group_column: Text | None = "Patient ID"

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        root = existing(self.root, f"images and {self.params.csv}")
        if not (root / self.params.csv).exists():  # newer ones have a version in their names
            tables = [path for path in _guess.tables(root) if ENTRIES in path]
            if not tables:
                raise UserError(
                    f"--data={root}: must hold {ENTRIES}.csv or {ENTRIES}_v2020.csv beside the "
                    "images; try adding it, or data=table, which takes any names"
                )
            self.params = replace(self.params, csv=max(tables))
        return super().scan()

    def _labels(self, table: Csv) -> tuple[list[str | None], tuple[str, ...]]:
        if not self.labelled:
            return super()._labels(table)
        known, column = FINDINGS[self.params.findings], table[self.params.label_column]
        given = [text or "" for text in _many.cells(column)]
        self._check(table, given)
        found = _many.all_renamed(given, {label: label for label in known})
        others = sum(bool(text) and not own for text, own in zip(given, found, strict=True))
        if others:
            self.notes.say(
                f"{others} images have none of the {len(known)} findings, but others: as {NOTHING}"
            )
        if self.many:
            return [*found], known
        several = [_many.JOIN in text for text in found]
        self.notes.say(
            f"{sum(several)} images have several of the {len(known)} findings, so none is isolated "
            "and they have no label"
        )
        labels = [None if no else text or NOTHING for no, text in zip(several, found, strict=True)]
        return labels, (NOTHING, *known)

    def _check(self, table: Csv, given: Sequence[str]) -> None:
        """Raise UserError for a finding that is none of the fourteen."""
        for row, text in enumerate(given):
            if unknown := set(filter(None, text.split(_many.JOIN))) - {*FINDINGS[14]}:
                raise UserError(
                    f"{table.where(row)}: must have findings of ChestX-ray14, and has "
                    f"{min(unknown)}; try data=table, which takes any labels"
                )
