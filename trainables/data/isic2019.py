"""ISIC-2019 skin lesions, as the challenge distributes its training set.

    ROOT/ISIC_2019_Training_Input/<image>.jpg      (or nested twice, as the zip unpacks)
    ROOT/ISIC_2019_Training_GroundTruth.csv        image, one 1.0 / 0.0 column per class
    ROOT/ISIC_2019_Training_Metadata.csv           image, ..., lesion_id

The patient group is the lesion, or the image itself where no lesion is given (no patient ids). The
source is the collection that begins the lesion's id: BCN, HAM, MSK4; unknown without an id.
"""

import logging
import re
from pathlib import Path

from trainables.data import Dataset, Item
from trainables.data._files import (
    check_distinct,
    existing,
    find_images,
    match_files,
    read_csv,
    some,
    subfolders,
)  # fmt: skip
from trainables.errors import UserError

IMAGES = "ISIC_2019_Training_Input"
TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
UNKNOWN = "UNK"  # a class of the test set only; its column is always 0
COLLECTION = re.compile(r"([A-Za-z]+\d*)_")  # HAM of the lesion HAM_0000118
SMALLER = "_downsampled"  # suffix of 2,074 names, missing in some copies of the images

log = logging.getLogger(__name__)


class Plugin(Dataset):
    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        base = self._base()
        labels, classes = _labels(base / TRUTH)
        lesions = _lesions(base / METADATA, labels)
        images = [_name(name) for name in labels]
        files = match_files(base / IMAGES, base / TRUTH, images, lambda file: {_name(file.stem)})
        used = set(labels.values())
        for label in classes:
            if label not in used and label != UNKNOWN:
                log.warning("%s: no image is of class %s; it is left out", base / TRUTH, label)
        items = [
            Item(name, label, lesions[name] or name, files[_name(name)], _site(lesions[name]))
            for name, label in labels.items()
        ]
        return items, classes

    def _base(self) -> Path:
        """Find the folder that holds the images' folder and the CSV files."""
        root = existing(self.root, f"{IMAGES}/, {TRUTH} and {METADATA}").absolute()
        inside = subfolders(root)
        around = [root.parent] if root.name == IMAGES else []
        for wanted in ((IMAGES, TRUTH), (IMAGES,)):
            for base in (root, *around, *inside):
                if all((base / name).exists() for name in wanted):
                    return base
        raise UserError(
            f"--data={self.root}: must hold {IMAGES}/, {TRUTH} and {METADATA}; "
            f"try {_advice(inside) or 'the folder that does'}"
        )


def _advice(folders: list[Path]) -> str:
    """Suggest the plug-in `folder` if there is one folder per class, else ""."""
    classes = [folder.name for folder in folders if next(find_images(folder), None)]
    if len(classes) < 2:
        return ""
    return f"data=folder, which reads {len(classes)} folders of images ({some(classes)})"


def _labels(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read the class of every image, and the classes in the order of the columns."""
    rows = read_csv(path, ("image", "NV", "MEL"))
    if not rows:
        raise UserError(f"{path}: must have a row an image, and has none; try the file again")
    check_distinct(path, rows, "image")
    classes = tuple(column for column in rows[0] if column != "image")
    labels = {
        row["image"]: _one_hot(row, classes, f"{path}, row {line} ({row['image']})")
        for line, row in enumerate(rows, start=2)
    }
    return labels, classes


def _one_hot(row: dict[str, str], classes: tuple[str, ...], where: str) -> str:
    try:
        values = [float(row[label]) for label in classes]
    except ValueError as error:
        raise UserError(f"{where}: must be 0.0 and 1.0 only ({error}); try mending it") from error
    if sorted(values) != [0.0] * (len(values) - 1) + [1.0]:
        marked = ", ".join(f"{c}={row[c]}" for c, v in zip(classes, values, strict=True) if v)
        raise UserError(
            f"{where}: must have exactly one class at 1.0, not {marked or 'none'}; try mending it"
        )
    return classes[values.index(1.0)]


def _lesions(path: Path, labels: dict[str, str]) -> dict[str, str]:
    lesions = {row["image"]: row["lesion_id"] for row in read_csv(path, ("image", "lesion_id"))}
    missing = [name for name in labels if name not in lesions]
    if missing:
        raise UserError(
            f"{path}: must have a row for every image of {TRUTH}, and has none for {len(missing)} "
            f"({some(missing)}): near copies would cross the split; try adding the rows (lesion_id "
            "may be empty)"
        )
    return lesions


def _site(lesion: str) -> str:
    found = COLLECTION.match(lesion)
    return found[1] if found else ""


def _name(image: str) -> str:
    return image.removesuffix(SMALLER)
