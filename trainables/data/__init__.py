"""Data sets: their interface. One file here and one YAML in `spaces/data/` make one data set.

    plugin = load("trainables.data", "isic2019")(root, params)
    plugin.table().labels, plugin.read(0)

A data set subclasses `Dataset` as `Plugin`, declares its parameters in `Params` and writes `scan`.
Rows are sorted by name, so that nothing depends on the order of a CSV file or a folder's listing.
No torch here: the search reads tables too, and must start quickly.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trainables.data._files import decode, memory
from trainables.errors import UserError
from trainables.plugins import name_of, unknown
from trainables.schema import Schema, read
from trainables.spec import Settings

UNKNOWN = "unknown"  # the site of an image without one, if others have one


@dataclass(frozen=True)
class Item:
    """One image."""

    name: str  # unique, and independent of where the data lies
    label: str  # the class's name
    group: str  # the patient group, never empty
    source: Path | str  # the image file, or a text that determines the pixels
    site: str = ""  # what users call its source: hospital, camera; "" if it is not known


@dataclass(frozen=True)
class Table:
    """Everything known about the images but their pixels; row i describes the image `read(i)`."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]  # [n], positions in classes
    groups: tuple[str, ...]  # patient groups
    classes: tuple[str, ...]
    sites: tuple[str, ...] = field(default=(), kw_only=True)  # see `Item`; () if fewer than two


class Dataset:
    """Base of data sets: a subclass writes `scan`; tables, exclusion and decoding are done here."""

    @dataclass(frozen=True)
    class Params(Schema):
        """Parameters of every data set; defaults equal those in the YAML file."""

        exclude_classes: list[str] | str | None = None

    demo: ClassVar[bool] = False  # synthetic images: every output must say so

    params: Params

    def __init__(self, root: Path | None, params: Settings) -> None:
        self.params, self.root = read(self.Params, params, "data.params"), root

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        """Return the images, and the classes in order; UserError if the data is invalid."""
        raise NotImplementedError

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:
        """Decode row i to uint8 [h, w, 3] or [h, w]; may be reduced while both sides >= `side`."""
        path = self.source(i)
        assert isinstance(path, Path), path
        return decode(path, side)

    def memory(self, i: int, side: int = 0) -> int:
        """Bound the bytes that `read` and a resize need, without decoding a pixel."""
        path = self.source(i)
        return memory(path, side) if isinstance(path, Path) else 0  # drawn images are small

    def mask(self, i: int) -> NDArray[np.bool_] | None:  # noqa: ARG002
        """Return the region of interest of row i, shaped as `read(i)`; None if unknown."""
        return None

    def source(self, i: int) -> Path | str:
        """Return what determines the pixels of row i: a file, or a text."""
        return self._scanned[0][i].source

    def table(self) -> Table:
        items, classes = self._scanned
        position = {label: at for at, label in enumerate(classes)}
        sites = tuple(item.site or UNKNOWN for item in items)
        return Table(
            names=tuple(item.name for item in items),
            labels=np.array([position[item.label] for item in items], np.int64),
            groups=tuple(item.group for item in items),
            classes=classes,
            sites=sites if len(set(sites)) > 1 else (),
        )

    @cached_property
    def _scanned(self) -> tuple[list[Item], tuple[str, ...]]:
        items, classes = self.scan()
        excluded = self._excluded(classes)
        kept = sorted((i for i in items if i.label not in excluded), key=lambda i: i.name)
        present = {item.label for item in kept}
        if len(present) < 2:
            raise UserError(
                f"data.name={name_of(type(self))}: must have images of at least 2 classes, not of "
                f"{len(present)} ({', '.join(present) or 'none'}); try another --data folder, or "
                "fewer data.params.exclude_classes"
            )
        assert all(item.group for item in kept)
        return kept, tuple(label for label in classes if label in present)

    def _excluded(self, classes: tuple[str, ...]) -> set[str]:
        given = self.params.exclude_classes or []
        excluded = [given] if isinstance(given, str) else given
        for label in excluded:
            if label not in classes:
                raise UserError(unknown("data.params.exclude_classes", label, classes))
        return set(excluded)
