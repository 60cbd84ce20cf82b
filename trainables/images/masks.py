"""The masks of a data set's images, decoded and fitted into the same squares.

    masks = Masks(Source(labelled, root), place)      # place: folder or CSV file; None: its own
    data = masks.opened(cache_root)                   # data.images: [n, side, side, 1], 255 inside

Only images with a mask have a row; rows are found by name. The masks have a digest of their own, so
that masks that are added later leave the images, and what was trained on them, as they are.
"""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data import Dataset
from trainables.data._masks import Regions
from trainables.durable import make_folder, sync
from trainables.errors import UserError
from trainables.images import fingerprint
from trainables.images.cache import IMAGES, Prepared, Source, _write, open_cache
from trainables.images.decoding import OnDecoded, decode_all
from trainables.images.fit import border
from trainables.images.forms import Form
from trainables.spec import DataSpec, digest

FORMAT = 1  # version of how masks are fitted; part of the digest
CLOSE = 0.03  # relative difference of proportions that rounding explains


class Drawn(Dataset):
    """Masks as images of one channel. rows: of their images."""

    def __init__(self, spec: DataSpec, images: Dataset, regions: Regions) -> None:
        super().__init__(None, {})
        self.spec, self.of_images, self.found = spec, images, regions
        self.rows = sorted(regions.sources)

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:  # noqa: ARG002
        row = self.rows[i]
        mask = self.found.read(row).astype(np.uint8) * 255
        try:
            form = self.of_images.form(row)
            pixels = self.of_images.read(row) if self.spec.trim else mask
        except Exception:  # a damaged image, which the data set refuses or leaves out
            return mask
        self._check_shape(row, form, mask)
        left, top, right, bottom = border(pixels) if self.spec.trim else (0, 0, *mask.shape[::-1])
        across, down = mask.shape[1] / pixels.shape[1], mask.shape[0] / pixels.shape[0]
        rows, columns = slice(*_scaled(top, bottom, down)), slice(*_scaled(left, right, across))
        return mask[rows, columns]

    def _check_shape(self, row: int, form: Form | None, mask: NDArray[np.uint8]) -> None:
        """Raise UserError if a mask has other proportions than its image."""
        if form is None:
            return
        height, width = mask.shape
        wanted, given = form.width / form.height, width / height
        if min(abs(given / one - 1) for one in (wanted, 1 / wanted)) > CLOSE:  # turned by EXIF
            raise UserError(
                f"data.masks: the mask of {self.of_images.items[row].name} must have the image's "
                f"proportions ({form.width} x {form.height} px), and is {width} x {height} px; try "
                "the masks of the original images"
            )

    def memory(self, i: int, side: int = 0) -> int:
        try:
            return self.of_images.memory(self.rows[i], side)
        except UserError:  # a damaged image; see `read`
            return 0

    def form(self, i: int) -> Form | None:  # noqa: ARG002
        return None


class Masks(Source):
    """The masks before they are decoded; UserError if a place is named that has none."""

    def __init__(self, labelled: Source, regions: Regions, size: int | None) -> None:
        self.labelled, self.called, self._digest = labelled, "masks", ""
        self.spec = replace(labelled.spec, masks=True, size=size or labelled.spec.size)
        self.images: Drawn = Drawn(labelled.spec, labelled.images, regions)
        self.table = labelled.table.subset(np.array(self.images.rows, np.int64))
        row = {name: at for at, name in enumerate(self.table.names)}
        self.split = {
            part: np.array([row[name] for i in index if (name := labelled.table.names[i]) in row],
                           np.int64)
            for part, index in labelled.split.items()
        }  # fmt: skip

    def digest(self, cache_root: Path) -> str:
        """Return the digest of all that decides the masks; of the images where they are trimmed."""
        if not self._digest:
            make_folder("cache", cache_root)
            drawn, table = self.images, self.table
            flat = [one for row in drawn.rows for one in drawn.found.sources[row]]
            known = fingerprint.contents(flat, cache_root, "masks")
            counts = [len(drawn.found.sources[row]) for row in drawn.rows]
            rows = [*zip(table.names, table.groups, counts, strict=True)]
            trimmed = self.labelled.digest(cache_root) if self.spec.trim else ""
            self._digest = digest([FORMAT, asdict(self.spec), rows, known, trimmed])
        return self._digest

    def opened(self, cache_root: Path, progress: OnDecoded | None = None) -> Prepared:
        """Decode and open the masks."""
        found = open_cache(self.prepare(cache_root, progress))
        return replace(found, digest=self.digest(cache_root))

    def _fill(
        self,
        folder: Path,
        cache_root: Path,  # noqa: ARG002
        progress: OnDecoded | None,
    ) -> dict[str, object]:
        spec = replace(self.spec, channels=1, trim=False)
        decode_all(spec, self.images, len(self.table.names), folder / IMAGES, progress)
        for error in self.images.damaged.values():
            raise error
        sync(folder / IMAGES)
        _write(folder, self.table, self.split, ())
        return {"mean": (0.0,), "std": (1.0,), "demo": self.labelled.images.demo}


def masks_of(labelled: Source, place: Path | None, size: int | None = None) -> Masks | None:
    """Return the masks at a place, or those that the data set has; None if there are none.

    size: side of the square, px; None: that of the images.
    """
    regions = labelled.images.regions(place)
    return Masks(labelled, regions, size) if regions else None


def opened_masks(labelled: Source, place: Path | None, size: int, cache_root: Path) -> Prepared:
    """Decode and open the masks of a data set; UserError if there are none."""
    if (found := masks_of(labelled, place, size)) is None:
        raise UserError(
            f"data.masks={place or ''}: must lie with the images on every node; try copying them"
        )
    return found.opened(cache_root)


def _scaled(low: int, high: int, factor: float) -> tuple[int, int]:
    return round(low * factor), max(round(high * factor), round(low * factor) + 1)
