"""ISIC-2019 skin lesions, as the challenge distributes its training set.

    ROOT/ISIC_2019_Training_Input/<image>.jpg      (or nested twice, as the zip unpacks)
    ROOT/ISIC_2019_Training_GroundTruth.csv        image, one 1.0 / 0.0 column per class
    ROOT/ISIC_2019_Training_Metadata.csv           image, ..., lesion_id

The patient group is the lesion, or the image itself where no lesion is given (no patient ids). The
source is the collection that begins the lesion's id: BCN, HAM, MSK4; unknown without an id.
"""

import re
from dataclasses import dataclass

from trainables.data import Dataset, Item, _groups, _onehot
from trainables.data._csv import Csv, read_csv
from trainables.data._match import Files
from trainables.data._published import base_of
from trainables.data._rows import Only, Rows, placed
from trainables.data._walk import walk
from trainables.errors import UserError

IMAGES = "ISIC_2019_Training_Input"
TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
COLUMNS = {TRUTH: ("image",), METADATA: ("image", "lesion_id")}
UNKNOWN = "UNK"  # a class of the test set only; its column is always 0
COLLECTION = re.compile(r"([A-Za-z]+\d*)_")  # HAM of the lesion HAM_0000118


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        only: Only = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        base = base_of(self.root, IMAGES, COLUMNS)
        table, metadata = read_csv(base / TRUTH), read_csv(base / METADATA)
        labels, classes = self._labels(table)
        names = table["image"]
        self.notes.read(metadata, image="image", group="lesion_id")
        lesions = _groups.column(metadata, "image", "lesion_id", names)
        files = Files(walk(base / IMAGES))
        self.notes.beside(files.found)
        sites = [found[1] if (found := COLLECTION.match(lesion)) else "" for lesion in lesions]
        rows = Rows(names, labels, lesions, [""] * len(table), sites)
        items = placed(rows, files, table, self.params.only, lambda _: "", self.notes)
        return items, classes

    def _labels(self, table: Csv) -> tuple[list[str | None], tuple[str, ...]]:
        """Return the class of every row, and the classes in the order of the columns."""
        if not len(table):
            raise UserError(
                f"{table.path}: must have a row an image, and has none; try the file again"
            )
        columns = [name for name in table.named if name != "image"]
        classes, ignored = _onehot.find(table, columns)
        classes = classes or columns  # for the error that names the row
        self.notes.leave(f"columns of {TRUTH} that are no classes", ignored)
        self.notes.read(table, image="image", label=", ".join(classes))
        labels = _onehot.read(table, classes, table["image"])
        unused = [name for name in classes if name not in labels and name != UNKNOWN]
        self.notes.leave(f"classes of {TRUTH} without an image", unused)
        return labels, tuple(classes)
