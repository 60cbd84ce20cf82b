"""The pool: what pretext tasks train on, the labelled training images and all without a label.

    pool = Pool(spec, Source(labelled, root), roots)     # spec.unlabelled: further data sets
    pool.sizes, pool.left_out                            # by patients, before an image is decoded
    data = pool.opened(cache_root)                       # data.split["train"] is the pool
    pool.sizes, pool.left_out                            # by pixels, too

Images without a label are decoded into a cache of their own, beside that of the labelled ones. None
joins whose patient has a validation or test image, nor a near-duplicate of such a patient's images,
nor a copy of an image that is trained on. Mean and std are those of the labelled images, as a user
of the backbone has them. Names in further data sets begin with `pool1/`, ...
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data import Dataset, Table
from trainables.data._files import some
from trainables.data._labels import is_placeholder
from trainables.data._understood import Notes
from trainables.durable import sync
from trainables.errors import UserError
from trainables.images import duplicates, fingerprint, table_file
from trainables.images.cache import IMAGES, MANIFEST, Prepared, Source, open_cache
from trainables.images.decoding import OnDecoded, decode_all, keep
from trainables.images.forms import Form
from trainables.images.masks import opened_masks
from trainables.images.paging import rows_only
from trainables.images.splits import Index
from trainables.images.table_file import TABLE
from trainables.plugins import load
from trainables.spec import DataSpec, digest

FORMAT = 2  # version of what joins; part of the digest
HELD_OUT = ("val", "test")
PATIENT = "unlabelled images of a validation or test patient"
PART = "unlabelled images in validation or test of the given split"
ALIKE = "unlabelled near-duplicates of a validation or test patient's images"
COPIES = "unlabelled copies of images that are trained on"
DAMAGED = "unlabelled images that can't be read"


@dataclass(frozen=True)
class Sizes:
    """The images of the pool. unknown: those without a label that name no patient."""

    labelled: int
    unlabelled: int
    unknown: int

    @property
    def images(self) -> int:
        return self.labelled + self.unlabelled


class Concatenated(Dataset):
    """The images of several data sets, one after the other."""

    def __init__(self, views: Sequence[Dataset]) -> None:
        super().__init__(None, {})
        self._at = [(view, row) for view in views for row in range(len(view.items))]

    def read(self, i: int, side: int = 0) -> NDArray[np.uint8]:
        view, row = self._at[i]
        return view.read(row, side)

    def memory(self, i: int, side: int = 0) -> int:
        view, row = self._at[i]
        return view.memory(row, side)

    def form(self, i: int) -> Form | None:
        view, row = self._at[i]
        return view.form(row)


class Pool(Source):
    """The images without a label, before they are decoded; UserError if none can join.

    spec: that of the labelled images, with `unlabelled`. roots: where its data sets lie.
    """

    def __init__(self, spec: DataSpec, labelled: Source, roots: Sequence[Path | None]) -> None:
        self.spec, self.called, self.labelled, self._digest = spec, "pool", labelled, ""
        further = [
            load("trainables.data", one.name)(root, one.params, spec.window, labelled=False)
            for one, root in zip(spec.unlabelled or (), roots, strict=True)
        ]
        for one in further:
            one.cache = labelled.images.cache
        found = [labelled.images.unlabelled, *(one.every() for one in further)]
        named = zip([labelled.images, *further], found, strict=True)
        self.views = [one.of(sorted(items, key=lambda item: item.name)) for one, items in named]
        self._notes = [one.notes for one in further]
        items = [item for view in self.views for item in view.items]
        self.images, self._parts = Concatenated(self.views), [item.part for item in items]
        self.table = Table(
            names=tuple(_names(self.views)),
            labels=np.full(len(items), -1),
            groups=tuple("" if is_placeholder(item.group) else item.group for item in items),
            classes=(),
        )
        self._expect()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the labelled images."""
        return self.labelled.classes

    @property
    def notes(self) -> list[Notes]:
        """What is left out, by name: of this pool, and of its further data sets."""
        own = Notes()
        for why, names in self.left_out.items():
            own.leave(why, names)
        return [own, *self._notes]

    def _expect(self) -> None:
        """Judge by patients and given parts alone, before anything is decoded."""
        split, known = self.labelled.split, self.labelled.table.names
        patient, part = self._apart([known[row] for at in HELD_OUT for row in split[at]])
        joined = ~(patient | part)
        self._found(joined, {PATIENT: patient & ~part, PART: part}, len(split["train"]))
        if self.spec.unlabelled and not joined.any():
            raise UserError(_nothing(self.left_out))

    def _found(
        self, joined: NDArray[np.bool_], left: Mapping[str, NDArray[np.bool_]], trained: int
    ) -> None:
        names, groups = self.table.names, self.table.groups
        self.left_out = {
            why: [names[row] for row in np.flatnonzero(rows)]
            for why, rows in left.items() if rows.any()
        }  # fmt: skip
        unknown = sum(not groups[row] for row in np.flatnonzero(joined))
        self.sizes = Sizes(trained, int(joined.sum()), unknown)
        self.split = {"train": np.arange(self.sizes.images)}

    def _apart(self, held_out: Collection[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return whose patient, and whose given part, is in validation or test: both [n].

        held_out: names of the labelled images there.
        """
        patients = _patients(self.labelled, held_out)
        patient = [group in patients for group in self.table.groups]
        part = [part in HELD_OUT for part in self._parts]
        return np.array(patient, bool), np.array(part, bool)

    def digest(self, cache_root: Path) -> str:
        """Return the digest of all that decides the pool's images, the labelled ones included."""
        if not self._digest:
            labelled = self.labelled.digest(cache_root)
            pixels = list[str]()
            for view in self.views:
                sources = [item.source for item in view.items]
                pixels += fingerprint.contents(sources, cache_root, "pool")
            columns = self.table.names, self.table.groups, self._parts, pixels
            rows = sorted(zip(*columns, strict=True))
            self._digest = digest([FORMAT, asdict(self.spec), labelled, rows])
        return self._digest

    def opened(self, cache_root: Path, progress: OnDecoded | None = None) -> Prepared:
        """Decode and open the pool: images in training are labelled ones, then the others."""
        labelled = open_cache(self.labelled.prepare(cache_root, progress))
        folder = self.prepare(cache_root, progress)
        manifest = json.loads((folder / MANIFEST).read_text())
        table, said = table_file.read(folder / TABLE)
        groups = table_file.texts(table, "group")
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        rows_only(images)
        known = {*groups} - {""}
        crossing = known & _patients(self.labelled, _held_out(labelled))
        assert not crossing, f"patients of validation or test in the pool: {sorted(crossing)[:3]}"
        trained = labelled.split["train"]
        self.sizes = Sizes(len(trained), len(images), groups.count(""))
        self.left_out = said["left_out"]
        rows = np.concatenate([trained, len(labelled.images) + np.arange(len(images))])
        return replace(
            labelled, pool=images, pool_groups=tuple(groups),
            split={**labelled.split, "train": rows}, digest=manifest["digest"],
        )  # fmt: skip

    def _fill(
        self, folder: Path, cache_root: Path, progress: OnDecoded | None
    ) -> dict[str, object]:
        labelled = open_cache(self.labelled.prepare(cache_root))
        names = self.table.names
        decode_all(self.spec, self.images, len(names), folder / IMAGES, progress)
        images = np.load(folder / IMAGES, mmap_mode="r")
        left = self._judged(images, labelled)
        out = np.any(list(left.values()), axis=0)
        kept = np.flatnonzero(~out)
        trained = labelled.split["train"]
        self._found(~out, left, len(trained))
        if self.spec.unlabelled and not len(kept):
            raise UserError(_nothing(self.left_out))
        keep(folder / IMAGES, kept.tolist())
        sync(folder / IMAGES)
        own = self.table.subset(kept)
        columns = {"image": own.names, "group": own.groups}
        table_file.write(folder / TABLE, columns, left_out=self.left_out)
        return {}

    def _judged(
        self, images: NDArray[np.uint8], labelled: Prepared
    ) -> dict[str, NDArray[np.bool_]]:
        """Return which images do not join, by reason; each has one reason."""
        n = len(images)
        damaged = _mask(n, list(self.images.damaged))
        self._check_readable(damaged)
        patient, part = self._apart(_held_out(labelled))
        apart, candidates = patient | part, np.flatnonzero(~(patient | part | damaged))
        held_out = [labelled.images[row] for at in HELD_OUT for row in labelled.split[at]]
        held_out += [images[row] for row in np.flatnonzero(apart & ~damaged)]
        near = candidates[duplicates.like([images[row] for row in candidates], held_out)]
        alike = _mask(n, near)
        known = {_sum(labelled.images[row]) for row in labelled.split["train"]}
        copies = _mask(n, [])
        for row in np.flatnonzero(~(apart | damaged | alike)):
            copies[row] = (found := _sum(images[row])) in known
            known.add(found)
        return {
            PATIENT: patient & ~part & ~damaged, PART: part & ~damaged, ALIKE: alike,
            COPIES: copies, DAMAGED: damaged,
        }  # fmt: skip

    def _check_readable(self, damaged: NDArray[np.bool_]) -> None:
        """Raise UserError if most can't be read: a few damaged files are left out."""
        if damaged.sum() * 2 > len(damaged):
            bad = [self.table.names[row] for row in np.flatnonzero(damaged)]
            first = self.images.damaged[min(self.images.damaged)]
            raise UserError(
                f"the images without a label: must be readable, and {len(bad)} of {len(damaged)} "
                f"are not ({some(bad)}; the first is {first}); try replacing them, or fewer folders"
            )


def opened(spec: DataSpec, roots: Sequence[Path | None], cache_root: Path) -> Prepared:
    """Decode and open the images of a role: a data set, the pool that it names, or its masks.

    roots: of the data set, then of those in `spec.unlabelled`, or of the masks.
    """
    labelled = Source(replace(spec, unlabelled=None, masks=False), roots[0], cache_root)
    if spec.masks:
        return opened_masks(labelled, roots[1], spec.size, cache_root)
    if spec.unlabelled is None:
        return open_cache(labelled.prepare(cache_root))
    return Pool(spec, labelled, roots[1:]).opened(cache_root)


def _names(views: Sequence[Dataset]) -> Iterator[str]:
    for k, view in enumerate(views):
        yield from (f"pool{k}/{item.name}" if k else item.name for item in view.items)


def _held_out(data: Prepared) -> list[str]:
    return [data.names[row] for part in HELD_OUT for row in data.split[part]]


def _patients(source: Source, names: Collection[str]) -> set[str]:
    """Return the patient groups of some images as the data set gives them, before any merge."""
    wanted = {*names}
    both = zip(source.table.names, source.images.patient_groups, strict=True)
    return {group for name, group in both if name in wanted}


def _mask(n: int, rows: Sequence[int] | Index) -> NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[np.asarray(rows, np.int64)] = True
    return mask


def _sum(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def _nothing(left: Mapping[str, Sequence[str]]) -> str:
    reasons = ", ".join(f"{len(names)} {why}" for why, names in left.items()) or "no image found"
    return (
        f"the pool: must have an image without a label that may join, and has none ({reasons}); "
        "try other images, or leaving out --data-unlabelled and pool"
    )
