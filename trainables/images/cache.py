"""Decode once: a data set's images as one memory-mapped uint8 array that all workers share.

    path = prepare(spec, root, cache_root)     # builds it, or finds it built
    data = open_cache(path)                    # data.images[i] is [side, side, channels]

The folder's name holds a digest of the content (names, labels, patient groups, image files) and of
the specification, not of the place it was read from. The folder is written under a temporary name,
flushed and renamed when complete. Every process that prepares it verifies its checksums first:
8,394 images of 96 px (232 MB) take 0.2 s of one core, ISIC-2019 at 384 px (11 GB) about 9 s of all
cores. A damaged cache is decoded again; memory maps that other processes have open stay valid.
Near-duplicates in different patient groups are found while the cache is built; `merge_duplicates`
merges their patient groups before the split.
"""

import json
import logging
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.data import Dataset, Table
from trainables.data._files import some
from trainables.durable import kernel_lock, make_folder, sync, write_json
from trainables.errors import UserError
from trainables.images import duplicates, fingerprint, table_file
from trainables.images.decoding import OnDecoded, created, decode_all, keep, statistics
from trainables.images.duplicates import Pair
from trainables.images.forms import Forms, summarise
from trainables.images.paging import announce, rows_only
from trainables.images.splits import PARTS, Index, all_test, check, given, leak, split, unmeasured
from trainables.images.table_file import TABLE
from trainables.plugins import load
from trainables.processor import cores
from trainables.spec import DataSpec, digest

FORMAT = 3  # version of folder layout, resizing and duplicate search; part of the digest
CHECKS = 3  # version of what decoding refuses, and of the table; older caches are decoded again
MANIFEST, IMAGES = "manifest.json", "images.npy"
MADE = "images"  # a data set that a stage made, in its folder
SPARE = 64 << 20  # bytes to leave free
BLOCK = 16 << 20  # bytes per checksum
READERS, SHARE = 4, 8 << 20  # threads that read a batch, at most; bytes for each, at least

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared(Table):
    """A decoded data set. Row i of every array describes the same image."""

    images: NDArray[np.uint8]  # [n, side, side, channels], memory-mapped, read-only
    split: dict[str, Index]  # train, val, test
    duplicates: tuple[Pair, ...]  # near-duplicates in different patient groups
    merged: bool  # whether `groups` has those patient groups merged
    mean: tuple[float, ...]  # of the training images, 0..1, one per channel
    std: tuple[float, ...]
    digest: str
    name: str  # of the data set
    demo: bool
    found: Mapping[str, int] = field(default_factory=dict, kw_only=True)  # images trimmed, unsound
    leak: str = field(default="", kw_only=True)  # what a published protocol lets through, or ""
    damaged: tuple[str, ...] = field(default=(), kw_only=True)  # names of images left out
    forms: Forms | None = field(default=None, kw_only=True)  # of the files; None if not recorded
    pool: NDArray[np.uint8] | None = field(default=None, kw_only=True)  # see `pool.opened`
    pool_groups: tuple[str, ...] = field(default=(), kw_only=True)  # of its images; "": unknown

    def take(self, rows: Index, out: NDArray[np.uint8]) -> None:
        """Copy some rows to `out`; those of the pool follow those of `images`.

        Several threads read a large batch, as one is slower than a GPU.
        """
        readers = min(READERS, out.nbytes // SHARE)
        if readers < 2:
            return self._take(rows, out)
        with ThreadPoolExecutor(readers) as pool:
            parts = np.array_split(rows, readers), np.array_split(out, readers)
            list(pool.map(self._take, *parts))

    def _take(self, rows: Index, out: NDArray[np.uint8]) -> None:
        if self.pool is None:
            announce(self.images, rows)
            self.images.take(rows, axis=0, out=out, mode="clip")  # "raise" copies twice
            return
        first, labelled = len(self.images), rows < len(self.images)
        for images, here, own in (
            (self.images, labelled, rows[labelled]),
            (self.pool, ~labelled, rows[~labelled] - first),
        ):
            announce(images, own)
            out[here] = images[own]


class Source:
    """A data set before it is decoded; UserError if its tables or split are invalid.

    cache: the folder that remembers what is read of many files, as of DICOM headers.
    """

    def __init__(self, spec: DataSpec, root: Path | None, cache: Path | None = None) -> None:
        self.spec, self.called = spec, spec.name  # called: what its folder's name begins with
        self.images: Dataset = load("trainables.data", spec.name)(root, spec.params, spec.window)
        self.images.cache = cache
        self.table = self.images.table()
        _check_merging(spec, self.images)
        self.published = self.images.params.protocol == "published"
        self.split = self._split(self.table)  # before duplicates are merged
        for sentence in _unmeasured(self.table, self.split):
            self.images.notes.say(sentence)
        self.leak = leak(self.split, self.images.patient_groups) if self.published else ""
        self._digest = ""

    @property
    def classes(self) -> tuple[str, ...]:
        return self.table.classes

    def _split(self, table: Table) -> dict[str, Index]:
        spec = self.spec
        if spec.test == 1:
            return all_test(len(table.names))
        if table.parts:
            return given(table, spec.val, spec.test, spec.seed, self.published)
        return split(table.labels, table.groups, spec.val, spec.test, spec.seed, table.classes)

    def digest(self, cache_root: Path) -> str:
        """Return the digest of the content; digests of files are remembered in `cache_root`."""
        if not self._digest:
            make_folder("cache", cache_root)
            table, sources = self.table, map(self.images.source, range(len(self.table.names)))
            pixels = fingerprint.contents(list(sources), cache_root)
            labels = table.labels.tolist()
            if not table.many:
                labels = [table.classes[label] for label in labels]
            columns = [table.names, labels, table.groups, pixels]
            columns += [table.sites] if table.sites else []
            columns += [[f"split {part}" for part in table.parts]] if table.parts else []
            rows = sorted(zip(*columns, strict=True))
            self._digest = digest([FORMAT, asdict(self.spec), table.classes, rows])
        return self._digest

    def decoded(self, cache_root: Path) -> bool:
        """Return whether the cache has the decoded folder.

        Before the digest is read, which takes every file, that is a guess by the specification.
        """
        name = f"{self.called}-{self.spec.size}px-{self._digest or '*'}"
        spec = json.loads(json.dumps(asdict(self.spec)))
        for file in cache_root.glob(f"{name}/{MANIFEST}"):
            with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: decoded again
                if json.loads(file.read_bytes())["spec"] == spec:
                    return True
        return False

    def prepare(self, cache_root: Path, progress: OnDecoded | None = None) -> Path:
        """Return the decoded folder, building it if it is missing or damaged.

        One process builds it while others wait. progress: called with (images done, total).
        Raises UserError for an unreadable image or too little disk space.
        """
        content = self.digest(cache_root)
        path = cache_root / f"{self.called}-{self.spec.size}px-{content}"
        if path.exists() and not _damage(path):
            return path
        with kernel_lock(cache_root / f"{path.name}.lock"):
            if path.exists() and (problem := _damage(path)):
                log.warning("%s: damaged (%s); decoded again", path, problem)
                os.rename(path, _beside(path))
            if not path.exists():
                self._build(content, path, progress)
        return path

    def _check_damaged(self, names: Sequence[str]) -> None:
        """Raise UserError with the first five, unless the user leaves them out."""
        data, advice = self.images, "data.params.damaged=skip, which leaves"
        if data.params.damaged == "skip":
            return self._check_left(names)
        if len(names) == 1:
            said = f"{next(iter(data.damaged.values()))}, or {advice} it out"
            raise UserError(said)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise UserError(
            f"--data={data.root}: must hold readable images, and {len(names)} of "
            f"{len(self.table.names)} are damaged ({', '.join(names[:5])}{more}); try replacing "
            f"them, or {advice} them out (the first is {data.damaged[min(data.damaged)]})"
        )

    def _check_left(self, damaged: Sequence[str]) -> None:
        """Raise UserError if a class has damaged images only."""
        names, first = set(damaged), self.images.damaged[min(self.images.damaged)]
        whole = np.array([name not in names for name in self.table.names])
        absent = [
            one for k, one in enumerate(self.table.classes) if not self.table.having(k)[whole].any()
        ]
        if absent:
            raise UserError(
                f"--data={self.images.root}: must hold readable images of every class, and has "
                f"none of {some(absent)} (the first is {first}); try replacing them, or "
                "data.params.exclude_classes"
            )

    def _build(self, content: str, path: Path, progress: OnDecoded | None) -> None:
        """Write to a temporary folder and rename it; first remove those of killed processes."""
        for stale in path.parent.glob(f"{path.name}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        _check_space(self.spec, len(self.table.names), path.parent)
        beside = _beside(path)
        beside.mkdir()
        try:
            manifest = {
                **self._fill(beside, path.parent, progress),
                "digest": content, "spec": asdict(self.spec), "format": FORMAT, "checks": CHECKS,
                "checksums": {name: _checksums(beside / name) for name in (IMAGES, TABLE)},
            }  # fmt: skip
            write_json(beside / MANIFEST, manifest | {"seal": digest(manifest)})
            os.replace(beside, path)
            sync(path.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        log.info("decoded the images of %s", path)

    def _fill(
        self,
        folder: Path,
        cache_root: Path,  # noqa: ARG002
        progress: OnDecoded | None,
    ) -> dict[str, object]:
        """Write images and table to the folder; return what else the manifest says of them."""
        spec, data, table = self.spec, self.images, self.table
        sums = decode_all(spec, data, len(table.names), folder / IMAGES, progress)
        if damaged := [table.names[row] for row in sorted(data.damaged)]:
            self._check_damaged(damaged)
            whole = np.setdiff1d(np.arange(len(table.names)), list(data.damaged))
            keep(folder / IMAGES, whole.tolist())
            table, sums = table.subset(whole), sums[whole]
        pairs = duplicates.find(np.load(folder / IMAGES, mmap_mode="r"), table.groups)
        if spec.merge_duplicates:
            table = replace(table, groups=duplicates.merged(table.groups, pairs))
        parts = self._split(table)
        trained = parts["train"] if len(parts["train"]) else parts["test"]
        mean, std = statistics(sums[trained], spec.size**2)
        sync(folder / IMAGES)
        _write(folder, table, parts, pairs)
        return {
            "mean": mean, "std": std, "demo": data.demo, "leak": self.leak, "damaged": damaged,
            "found": {"trimmed": len(data.trimmed), "unsound": len(data.unsound)},
            "forms": asdict(summarise(data.forms)),
        }  # fmt: skip


def _unmeasured(table: Table, parts: Mapping[str, Index]) -> Iterator[str]:
    """Yield what to tell of labels, of several an image, that a part can't measure."""
    for name, index in parts.items():
        if table.many and len(index) and (labels := unmeasured(table, index)):
            yield (
                f"{len(labels)} labels are not both 1 and 0 in {name}, so no measure counts them "
                f"there: {some(labels)}"
            )


def _check_merging(spec: DataSpec, data: Dataset) -> None:
    if spec.merge_duplicates and data.params.protocol:
        raise UserError(
            "data.merge_duplicates=true: must be false with data.params.protocol=published, which "
            "has no patient groups; try one without the other"
        )


def prepare(
    spec: DataSpec, root: Path | None, cache_root: Path, progress: OnDecoded | None = None
) -> Path:
    """Return the folder with the decoded data set; see `Source.prepare`."""
    return Source(spec, root, cache_root).prepare(cache_root, progress)


def made_by(stage: Path) -> Prepared | None:
    """Open the data set that a finished stage made, None if it made none."""
    return open_cache(stage / MADE) if (stage / MADE).is_dir() else None


def room_for(stage: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a file for the images of a data set that a stage makes, which may exceed memory."""
    (stage / MADE).mkdir(exist_ok=True)
    return created(stage / MADE / IMAGES, shape)


def save_made(stage: Path, data: Prepared) -> None:
    """Write a data set that a stage makes to its folder; its images may be `room_for` it there."""
    folder = stage / MADE
    folder.mkdir(exist_ok=True)
    images = data.images
    if isinstance(images, np.memmap) and images.filename == (folder / IMAGES).resolve():
        images.flush()
    else:
        np.save(folder / IMAGES, images)
    table = Table(data.names, data.labels, data.groups, data.classes, sites=data.sites)
    _write(folder, table, data.split, data.duplicates)
    spec = {"merge_duplicates": data.merged, "name": data.name}
    write_json(folder / MANIFEST, {
        "mean": data.mean, "std": data.std, "digest": data.digest, "spec": spec, "demo": data.demo,
        "leak": data.leak,
    })  # fmt: skip


def _write(folder: Path, table: Table, parts: Mapping[str, Index], pairs: Iterable[Pair]) -> None:
    part = np.empty(len(table.names), object)
    for name, index in parts.items():
        part[index] = name
    columns = {"image": table.names, "label": table.labels.tolist(), "group": table.groups}
    columns |= {"source": table.sites} if table.sites else {}
    found = [asdict(pair) for pair in pairs]
    columns |= {"part": part}
    table_file.write(folder / TABLE, columns, classes=table.classes, duplicates=found)


def open_cache(path: Path) -> Prepared:
    """Open a decoded folder and check its split: one part per image and per patient group."""
    manifest = json.loads((path / MANIFEST).read_text())
    table, said = table_file.read(path / TABLE)
    part, groups = np.array(table_file.texts(table, "part")), table_file.texts(table, "group")
    parts = {name: np.flatnonzero(part == name) for name in PARTS}
    check(parts, groups)
    images = np.load(path / IMAGES, mmap_mode="r", allow_pickle=False)
    rows_only(images)
    return Prepared(
        images=images,
        labels=table_file.numbers(table, "label"), split=parts, groups=groups,
        names=table_file.texts(table, "image"), classes=tuple(said["classes"]),
        duplicates=tuple(Pair(**pair) for pair in said["duplicates"]),
        mean=tuple(manifest["mean"]), std=tuple(manifest["std"]), digest=manifest["digest"],
        merged=manifest["spec"]["merge_duplicates"], name=manifest["spec"]["name"],
        demo=manifest["demo"], sites=table_file.texts(table, "source"),
        leak=manifest.get("leak", ""), damaged=tuple(manifest.get("damaged", ())),
        found=manifest.get("found", {}), forms=Forms.read(manifest.get("forms")),
    )  # fmt: skip


def _beside(path: Path) -> Path:
    """Return a temporary name beside `path`; the next build removes what is left there."""
    return path.with_name(f"{path.name}.tmp-{uuid.uuid4().hex[:8]}")


def _damage(path: Path) -> str:
    """Return what differs from what was written, or "" if nothing does."""
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        if manifest.pop("seal") != digest(manifest):
            return f"{MANIFEST} is not what was written"
        if manifest.get("checks") != CHECKS:
            return "of an older version"
        for name, known in manifest["checksums"].items():
            if _checksums(path / name) != known:
                return f"{name} is not what was written"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _checksums(path: Path) -> list[int]:
    """Return the CRC-32 of every block of the file."""

    def checksum(at: int) -> int:
        with path.open("rb") as file:
            file.seek(at)
            return zlib.crc32(file.read(BLOCK))

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(checksum, range(0, path.stat().st_size, BLOCK)))


def _check_space(spec: DataSpec, n: int, folder: Path) -> None:
    need = n * spec.size**2 * spec.channels + SPARE
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"cache={folder}: must have {need / 1e9:.1f} GB free for {n} images at {spec.size} px, "
            f"has {free / 1e9:.1f}; try making room, or another cache="
        )
