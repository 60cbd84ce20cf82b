"""Data sets: their interface. One file here and one YAML in `spaces/data/` make one data set.

    plugin = load("trainables.data", "isic2019")(root, params)
    plugin.table().labels, plugin.read(0)

A data set subclasses `Dataset` as `Plugin`, declares its parameters in `Params` and writes `scan`.
Rows are sorted by name, so that nothing depends on the order of a CSV file or a folder's listing.
No torch here: the search reads tables too, and must start quickly.
"""

from collections import Counter
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from trainables.data import _many, _masks
from trainables.data._files import decode_checked, memory, some
from trainables.data._labels import find, is_placeholder, mapping, remarks, several, spellings
from trainables.data._understood import DAMAGED, Count, Notes, Understood, left
from trainables.errors import UserError
from trainables.images.forms import Form, of_file
from trainables.images.levels import Window
from trainables.plugins import name_of
from trainables.schema import Schema, Text, read, shown
from trainables.spec import Settings

UNKNOWN = "unknown"  # the site of an image without one, if others have one


@dataclass(frozen=True, slots=True)
class Item:
    """One image."""

    name: str  # unique, and independent of where the data lies
    label: str | None  # the class's name, or several as in `_many`; None: no label
    group: str  # the patient group; "", `nan`, `unknown` and the like: not known
    source: Path | str  # the image file, or a text that determines the pixels
    site: str = ""  # what users call its source: hospital, camera; "" if it is not known
    part: str = ""  # train, val or test where the data set gives its split


@dataclass(frozen=True)
class Table:
    """Everything known about the images but their pixels; row i describes the image `read(i)`."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]  # [n], positions in classes; [n, classes] of 1, 0, -1: see `many`
    groups: tuple[str, ...]  # patient groups
    classes: tuple[str, ...]
    sites: tuple[str, ...] = field(default=(), kw_only=True)  # see `Item`; () if fewer than two
    parts: tuple[str, ...] = field(default=(), kw_only=True)  # of a given split; () if none is

    @property
    def many(self) -> bool:
        """Whether an image may have several labels: 1 it has, 0 it has not, -1 not known."""
        return self.labels.ndim == 2

    def having(self, k: int) -> NDArray[np.bool_]:
        """Return [n] which images have class k."""
        found: NDArray[np.bool_] = self.labels[:, k] == 1 if self.many else self.labels == k
        return found

    def subset(self, rows: NDArray[np.int64]) -> "Table":
        """Return the table of some rows, with the classes of all."""
        columns = {
            name: tuple(column[row] for row in rows)
            for name in ("names", "groups", "sites", "parts")
            if (column := getattr(self, name))
        }
        return replace(self, labels=self.labels[rows], **columns)


class Dataset:
    """Base of data sets: a subclass writes `scan`; tables are made and images read here."""

    @dataclass(frozen=True)
    class Params(Schema):
        """Parameters of every data set; defaults equal those in the YAML file.

        classes: new classes from old ones; others are left out. damaged: what to do with images
        that can't be read. protocol: published allows what a published protocol did: images in
        place of patient groups, no test part.
        """

        exclude_classes: list[Text] | Text | None = None
        classes: dict[Text, list[Text] | Text] | None = None
        damaged: Literal["skip"] | None = None
        protocol: Literal["published"] | None = None

    demo: ClassVar[bool] = False  # synthetic images: every output must say so
    cache: Path | None = None  # remembers what is read of many files; None: nothing does

    params: Params

    def __init__(
        self,
        root: Path | None,
        params: Settings,
        window: Window | None = None,
        labelled: bool = True,
    ) -> None:
        """Read the parameters.

        window: black and white of more than 8 bits; None: robust ones. labelled: False for a data
        set of the pool, whose labels need not exist.
        """
        self.params, self.root = read(self.Params, params, "data.params"), root
        self.labelled = labelled
        self.window, self.notes = window, Notes()
        # Rows read so far: damaged; with values that are NaN or infinite; with a border cut.
        self.damaged: dict[int, UserError] = {}
        self.unsound, self.trimmed = set[int](), set[int]()
        self.forms = Counter[Form]()

    @property
    def many(self) -> bool:
        """Whether an image may have several labels."""
        return False

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        """Return the images, and the classes in order; UserError if the data is invalid."""
        raise NotImplementedError

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:
        """Decode row i to uint8 [h, w, 3] or [h, w]; may be reduced while both sides >= `side`."""
        path = self.source(i)
        assert isinstance(path, Path), path
        pixels, sound = decode_checked(path, side, self.window)
        if not sound:
            self.unsound.add(i)
        return pixels

    def memory(self, i: int, side: int = 0) -> int:
        """Bound the bytes that `read` and a resize need, without decoding a pixel."""
        path = self.source(i)
        return memory(path, side) if isinstance(path, Path) else 0  # drawn images are small

    def form(self, i: int) -> Form | None:
        """Return size and mode of row i's file, which can be read; None if it has none."""
        path = self.source(i)
        return of_file(path) if isinstance(path, Path) else None

    def masks(self) -> Path | None:
        """Return the folder or CSV file of masks that lies with the images; None: there is none."""
        return _masks.beside(self.root) if self.root else None

    def regions(self, place: Path | None = None) -> "_masks.Regions | None":
        """Return the masks at a place, else those that lie with the images; None without any.

        UserError for a place without a mask of these images.
        """
        names, own = [item.name for item in self.items], place or self.masks()
        found = _masks.found(own, names, self.notes) if own else None
        if place and found and not found.sources:
            raise UserError(
                f"data.masks={place}: must hold masks of the images, called as they are, and has "
                f"none (images: {some(names)}); try another folder or file"
            )
        return found if found and found.sources else None

    def source(self, i: int) -> Path | str:
        """Return what determines the pixels of row i: a file, or a text."""
        return self._scanned[0][i].source

    def table(self) -> Table:
        items, classes = self._scanned
        names = tuple(item.name for item in items)
        parts = tuple(item.part for item in items)
        sites = tuple(item.site or UNKNOWN for item in items)
        return Table(
            names=names,
            labels=self._positions(items, classes),
            groups=names if self.params.protocol else self.patient_groups,
            classes=classes,
            sites=sites if len(set(sites)) > 1 else (),
            parts=parts if any(parts) else (),
        )

    def _positions(self, items: list[Item], classes: tuple[str, ...]) -> NDArray[np.int64]:
        labels = [str(item.label) for item in items]
        if self.many:
            return _many.matrix(labels, classes)
        position = {label: at for at, label in enumerate(classes)}
        return np.array([position[label] for label in labels], np.int64)

    @property
    def patient_groups(self) -> tuple[str, ...]:
        """The patient group of every row, whatever the protocol splits by."""
        return tuple(item.group for item in self._scanned[0])

    @property
    def unlabelled(self) -> list[Item]:
        """The images without a label; no part of the table."""
        self._scanned  # noqa: B018
        return self._unlabelled

    @property
    def items(self) -> list[Item]:
        """The images by row."""
        return self._scanned[0]

    def every(self) -> list[Item]:
        """Return all images for the pool, whatever their label."""
        given = {"classes": self.params.classes, "exclude_classes": self.params.exclude_classes}
        if named := [key for key, value in given.items() if value]:
            raise UserError(
                f"data.params.{named[0]}={shown(given[named[0]])}: must be left out, as a pool has "
                f"no classes; try data.params.{named[0]}=null"
            )
        return self.scan()[0]

    def of(self, items: list[Item]) -> Self:
        """Return this data set with these images as its rows."""
        view = copy(self)
        view.__dict__["_scanned"] = items, ()
        view.damaged, view.unsound, view.trimmed = {}, set(), set()
        view.forms = Counter()
        return view

    def understood(self, damaged: Collection[str] = ()) -> Understood:
        """Return what was read, for people to check. damaged: names of images left out since."""
        scanned, without = self._scanned[0], frozenset(damaged)
        rows = [row for row, item in enumerate(scanned) if item.name not in without]
        items, table = [scanned[row] for row in rows], self.table().subset(np.array(rows, np.int64))
        groups = Counter(item.group for item in items)
        largest, images = groups.most_common(1)[0]
        return Understood(
            classes={
                label: _count([items[row] for row in np.flatnonzero(table.having(k))])
                for k, label in enumerate(table.classes)
            },
            patient_groups=len(groups),
            largest_group=largest,
            largest_images=images,
            unlabelled=len(self._unlabelled),
            given_split={
                part: _count([i for i in items if i.part == part])
                for part in sorted({item.part for item in items} - {""})
            },
            left_out=(*self.notes.left_out, *left(DAMAGED, sorted(damaged))),
            tables=tuple(self.notes.tables),
            notes=tuple(self.notes.sentences),
        )

    @cached_property
    def _scanned(self) -> tuple[list[Item], tuple[str, ...]]:
        found, classes = self.scan()
        self._unlabelled = [item for item in found if item.label is None]
        items = self._in_parts([item for item in found if item.label is not None])
        if self.many:
            items, classes = self._several(items, classes)
            return self._grouped(sorted(items, key=lambda i: i.name)), classes
        items, classes = self._classed(items, classes)
        excluded = self._excluded(classes)
        kept = sorted((i for i in items if i.label not in excluded), key=lambda i: i.name)
        self._check_single(Counter(str(item.label) for item in kept))
        for remark in remarks(Counter(str(item.label) for item in kept)):
            self.notes.say(remark)
        present = {str(item.label) for item in kept}
        if len(present) < 2:
            raise UserError(
                f"data.name={name_of(type(self))}: must have images of at least 2 classes, not of "
                f"{len(present)} ({', '.join(present) or 'none'}); try another --data folder, or "
                "fewer data.params.exclude_classes"
            )
        dropped = [item.name for item in items if item.label in excluded]
        self.notes.leave("images of excluded classes", dropped)
        return self._grouped(kept), tuple(label for label in classes if label in present)

    def _classed(
        self, items: list[Item], classes: tuple[str, ...]
    ) -> tuple[list[Item], tuple[str, ...]]:
        """Return the items under the classes that spelling and the user's map make of labels."""
        new, classes = self._renamed(Counter(str(item.label) for item in items), classes)
        dropped = [item.name for item in items if item.label not in new]
        self.notes.leave("images of classes that data.params.classes does not name", dropped)
        return [_labelled(i, new[str(i.label)]) for i in items if i.label in new], classes

    def _several(
        self, items: list[Item], classes: tuple[str, ...]
    ) -> tuple[list[Item], tuple[str, ...]]:
        """Return the items, each with several labels or none; a label excluded is no label."""
        texts = [str(item.label) for item in items]
        new, classes = self._renamed(_many.counts(texts), classes)
        _many.check_names(classes)
        excluded = self._excluded(classes)
        kept = tuple(label for label in classes if label not in excluded)
        new = {old: label for old, label in new.items() if label not in excluded}
        texts = _many.all_renamed(texts, new)
        varying = _many.varying(_many.matrix(texts, kept))
        classes = tuple(label for label, both in zip(kept, varying, strict=True) if both)
        constant = [label for label in kept if label not in classes]
        self.notes.leave("labels that all images have, or none", constant)
        if not classes:
            raise UserError(
                f"data.name={name_of(type(self))}: must have a label that some of the "
                f"{len(items)} images have and others have not ({some(kept) or 'none'}); try "
                "another data.params.label_column, or fewer data.params.exclude_classes"
            )
        texts = _many.all_renamed(texts, {label: label for label in classes})
        for remark in remarks(_many.counts(texts)):
            self.notes.say(remark)
        self.notes.say(_many.sentence(_many.matrix(texts, classes)))
        return [_labelled(item, text) for item, text in zip(items, texts, strict=True)], classes

    def _renamed(
        self, counts: Counter[str], classes: tuple[str, ...]
    ) -> tuple[dict[str, str], tuple[str, ...]]:
        """Return the class that each label becomes by spelling and the user's map, and all."""
        spelt = spellings({label: counts[label] for label in classes})
        for label, one in spelt.items():
            if label != one:
                self.notes.say(f"{label!r} is read as class {one!r}: only case or spaces differ")
        new, classes = spelt, tuple(dict.fromkeys(spelt.values()))
        if self.params.classes is not None:
            renamed = mapping(self.params.classes, classes, "data.params.classes")
            new = {label: renamed[one] for label, one in spelt.items() if one in renamed}
            classes = tuple(self.params.classes)
        return new, classes

    def _in_parts(self, items: list[Item]) -> list[Item]:
        """Return the items without those that a given split leaves out."""
        if not any(item.part for item in items):
            return items
        outside = [item.name for item in items if not item.part]
        self.notes.leave("images in no part of the given split", outside)
        return [item for item in items if item.part]

    def _check_single(self, counts: Counter[str]) -> None:
        separator, joined = several(list(counts))
        if joined:
            raise UserError(
                f"--data={self.root}: must have one class a row, and "
                f"{sum(counts[label] for label in joined)} rows have several, joined by "
                f"'{separator}' ({some(joined)}); try data.params.labels=many, or naming those to "
                f"keep: data.params.classes={{{_words(joined[0])}: ['{joined[0]}', ...], ...}}"
            )

    def _excluded(self, classes: tuple[str, ...]) -> set[str]:
        given = self.params.exclude_classes or []
        wanted = [given] if isinstance(given, str) else given
        return {find(label, classes, "data.params.exclude_classes") for label in wanted}

    def _grouped(self, items: list[Item]) -> list[Item]:
        """Return the items with a patient group each: an image's own where none is known."""
        marks = Counter(i.group for i in items if i.group and is_placeholder(i.group))
        if marks:
            self.notes.say(
                f"{sum(marks.values())} images have no patient group but "
                f"{', '.join(map(shown, sorted(marks)))}: each is its own"
            )
        return [_in_group(i, i.name) if is_placeholder(i.group) else i for i in items]


def _labelled(item: Item, label: str) -> Item:
    return item if item.label == label else replace(item, label=label)


def _in_group(item: Item, group: str) -> Item:
    return item if item.group == group else replace(item, group=group)


def _count(items: list[Item]) -> Count:
    return Count(len(items), len({item.group for item in items}))


def _words(label: str) -> str:
    return "".join(c if c.isalnum() else " " for c in label).strip()
