"""SIIM-FISABIO-RSNA chest X-rays of COVID-19, as the challenge distributes its training set.

    ROOT/train/<study>/<series>/<image>.dcm
    ROOT/train_study_level.csv     id: <study>_study, one 1 / 0 column an appearance
    ROOT/train_image_level.csv     id: <image>_image, boxes, StudyInstanceUID

The label of a study is that of all its images: negative or pneumonia, or with `appearances` one of
four. The patient group is the header's PatientID; headers are read once, and remembered in the
cache. Of equal pixels inside a study the first image is used, one with boxes before others.
ROOT/test has no labels: --data-unlabelled takes it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainables.data import Dataset, Item, _onehot
from trainables.data._csv import Csv, read_csv
from trainables.data._files import some
from trainables.data._labels import EMPTY, folded
from trainables.data._match import Files
from trainables.data._published import base_of
from trainables.data._rows import Only, Rows, placed
from trainables.data._walk import walk
from trainables.errors import UserError
from trainables.images import dicom
from trainables.images.fingerprint import remembered

TRAIN, STUDIES, IMAGES = "train", "train_study_level.csv", "train_image_level.csv"
NEGATIVE, STUDY = "Negative for Pneumonia", "StudyInstanceUID"
APPEARANCES = (
    NEGATIVE, "Typical Appearance", "Indeterminate Appearance", "Atypical Appearance",
)  # fmt: skip
BINARY = ("Negative", "Pneumonia")
COLUMNS = {STUDIES: ("id", *APPEARANCES), IMAGES: ("id", "boxes", STUDY)}
PUBLISHED = 6334  # images
COPY = "copies inside a study (equal pixels)"
UNBOXED = "images without a box beside one with boxes, in one study"


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        """appearances: four classes. duplicates: what is left out inside a study; None: nothing."""

        appearances: bool = False
        duplicates: Literal["copies", "unboxed"] | None = "copies"
        only: Only = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        base = base_of(self.root, TRAIN, COLUMNS)
        table, files = read_csv(base / IMAGES), Files(walk(base / TRAIN))
        names = [cell.removesuffix("_image") for cell in table["id"]]
        labels, classes = self._labels(table, read_csv(base / STUDIES))
        nothing = [""] * len(table)
        left_out = self._left_out(table, names, files)
        rows = Rows(names, labels, nothing, nothing, nothing, left_out=left_out)
        self.notes.beside(files.found)
        patients = self._read(files, range(len(files.paths)), "patients", dicom.patient)
        if unnamed := sum(not patient for patient in patients.values()):
            self.notes.say(f"{unnamed} files name no patient: each is a patient of its own")
        group = dict(zip(map(files.name, patients), patients.values(), strict=True))
        items = placed(rows, files, table, self.params.only, group.__getitem__, self.notes)
        self.notes.say(f"{PUBLISHED} images are published, and {len(items)} of them are used")
        return items, classes

    def _labels(self, table: Csv, studies: Csv) -> tuple[list[str | None], tuple[str, ...]]:
        """Return the class of every image, which is its study's, and all classes."""
        self.notes.read(studies, image="id", label=", ".join(APPEARANCES))
        self.notes.read(table, image="id", study=STUDY)
        if not self.labelled:
            return [None] * len(table), ()
        named = [cell.removesuffix("_study") for cell in studies["id"]]
        known = dict(zip(named, _onehot.read(studies, APPEARANCES, named), strict=True))
        if absent := [study for study in table[STUDY] if study not in known]:
            raise UserError(
                f"{studies.path}: must have a row for every study of {IMAGES}, and has none for "
                f"{len(absent)} ({some(absent)}); try downloading it again"
            )
        labels = [known[study] for study in table[STUDY]]
        if self.params.appearances:
            return labels, APPEARANCES
        return [label and BINARY[label != NEGATIVE] for label in labels], BINARY

    def _left_out(self, table: Csv, names: Sequence[str], files: Files) -> dict[int, str]:
        """Return why rows are left out: copies inside a study, and views without a box."""
        if self.params.duplicates is None:
            return {}
        found = {row: at for row, name in enumerate(names) for at in files.find(name).files}
        studies, left = defaultdict[str, list[int]](list), dict[int, str]()
        for row in found:
            studies[table[STUDY][row]].append(row)
        several = [rows for rows in studies.values() if len(rows) > 1]
        boxed = [folded(cell) not in EMPTY for cell in table["boxes"]]
        wanted = [found[row] for rows in several for row in rows]
        pixels = self._read(files, wanted, "pixels", _pixels)
        drops = self.params.duplicates == "unboxed"
        for rows in several:
            seen = set[str]()
            for row in sorted(rows, key=lambda row: (not boxed[row], names[row])):
                if drops and not boxed[row] and any(boxed[other] for other in rows):
                    left[row] = UNBOXED
                elif pixels[found[row]] in seen:
                    left[row] = COPY
                seen.add(pixels[found[row]])
        return left

    def _read(
        self, files: Files, wanted: Sequence[int], of: str, read: Callable[[Path], str]
    ) -> Mapping[int, str]:
        """Return what is read of some files, as the cache remembers it."""
        paths = {at: files.path(at).absolute() for at in wanted}
        if self.cache is None:
            return {at: read(path) for at, path in paths.items()}
        found = remembered(list(paths.values()), self.cache, of, read)
        return {at: found[path] for at, path in paths.items()}


def _pixels(path: Path) -> str:
    return hashlib.sha256(dicom.stored_pixels(path)).hexdigest()
