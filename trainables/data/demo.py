"""Built-in images for demonstrations and tests: drawn skin lesions of ISIC-2019's eight classes.

    Plugin(None, {"n": 1400, "size": 96, "seed": 0})

Several images may show one lesion (the patient group) in different views and light. Image i depends
on seed, size and i, never on n. There is no patient: `demo` is true, and every output says so.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from trainables.data import Dataset, Item
from trainables.data._draw import Lesion, picture
from trainables.data._kinds import KINDS
from trainables.data._masks import Regions

DRAWING = 4  # raise it when unchanged parameters draw different images
LESIONS, IMAGES = 1, 2  # streams of random numbers


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        n: Annotated[int, Field(ge=1, le=100_000)] = 1400
        size: Annotated[int, Field(ge=16, le=512)] = 96
        seed: Annotated[int, Field(ge=0, le=2**32)] = 0

    params: Params
    demo: ClassVar[bool] = True

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        size, seed = self.params.size, self.params.seed
        items = [
            Item(f"demo_{i:06}", kind, f"lesion_{lesion:06}", f"drawn {DRAWING} {seed} {size} {i}")
            for i, (lesion, kind) in enumerate(self._rows)
        ]
        return items, tuple(KINDS)

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:  # noqa: ARG002
        pixels, mask = self._picture(i)
        self._seen[str(self.source(i))] = np.packbits(mask)
        return pixels

    def mask(self, i: int) -> NDArray[np.bool_]:
        """Return the lesion of row i: bool [h, w]."""
        if (seen := self._seen.get(str(self.source(i)))) is None:
            return self._picture(i)[1]
        size = self.params.size
        return np.unpackbits(seen, count=size * size).reshape(size, size).astype(bool)

    def regions(self, place: Path | None = None) -> Regions | None:
        """Return the drawn masks, unless others are named."""
        if place:
            return super().regions(place)
        rows = range(len(self.items))
        return Regions({row: [f"mask of {self.source(row)}"] for row in rows}, self.mask)

    def _picture(self, i: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        at = int(self._scanned[0][i].name.removeprefix("demo_"))
        lesion, kind = self._rows[at]
        rng = np.random.default_rng([self.params.seed, IMAGES, at])
        return picture(_lesion(self.params.seed, lesion, kind), rng, self.params.size)

    @cached_property
    def _seen(self) -> dict[str, NDArray[np.uint8]]:
        """Masks drawn with their images, packed: they would take as long again."""
        return {}

    @cached_property
    def _rows(self) -> list[tuple[int, str]]:
        """Return lesion and class of every image; the first rows are the same for any n."""
        rng = np.random.default_rng([self.params.seed, LESIONS])
        frequency = np.array([kind.frequency for kind in KINDS.values()])
        have = np.zeros(len(frequency))
        rows: list[tuple[int, str]] = []
        lesion = 0
        while len(rows) < self.params.n:
            chosen = int(np.argmax(frequency * (lesion + 1) - have))  # the class most behind
            have[chosen] += 1
            views = int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))
            rows += [(lesion, list(KINDS)[chosen])] * views
            lesion += 1
        return rows[: self.params.n]


@lru_cache(64)
def _lesion(seed: int, lesion: int, kind: str) -> Lesion:
    return Lesion(kind, np.random.default_rng([seed, LESIONS, lesion]))
