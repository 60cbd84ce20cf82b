"""Decode once: a data set's images as one memory-mapped uint8 array that all workers share.

    path = prepare(spec, root, cache_root)     # builds it, or finds it built
    data = open_cache(path)                    # data.images[i] is [side, side, channels]

The folder's name holds the digest of the content (names, labels, groups, pixels' files) and of the
specification, never of the place it was read from. It is written beside and renamed when complete.
"""

import fcntl
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables import fingerprint
from trainables.data import Dataset, Table
from trainables.errors import UserError
from trainables.plugins import load
from trainables.spec import DataSpec
from trainables.splits import Index, split

FORMAT = 1  # of the folder and of how pixels are resized; part of the digest
MANIFEST, IMAGES, TABLE = "manifest.json", "images.npy", "table.json"
SPARE = 64 << 20  # bytes to leave free

Progress = Callable[[int, int], None]  # images done, of how many
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A decoded data set. Rows of all arrays are the same images."""

    images: NDArray[np.uint8]  # [n, side, side, channels], memory-mapped, read-only
    labels: Index
    groups: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    split: dict[str, Index]  # train, val, test
    mean: tuple[float, ...]  # of the training images, 0..1, one a channel
    std: tuple[float, ...]
    digest: str
    name: str  # of the data set
    demo: bool


def prepare(
    spec: DataSpec, root: Path | None, cache_root: Path, progress: Progress | None = None
) -> Path:
    """The folder with the data set decoded; built by one process, while others wait for it."""
    data = _dataset(spec, root)
    table = data.table()
    parts = _split(spec, table)  # before anything is built: its errors are the user's
    cache_root.mkdir(parents=True, exist_ok=True)
    digest = _digest(spec, data, table, cache_root)
    path = cache_root / f"{spec.name}-{spec.size}px-{digest}"
    if (path / MANIFEST).is_file():
        return path
    with _locked(cache_root / f"{path.name}.lock"):
        if not (path / MANIFEST).is_file():
            _build(spec, data, table, parts, digest, path, progress)
    return path


def open_cache(path: Path) -> Prepared:
    manifest = json.loads((path / MANIFEST).read_text())
    table = json.loads((path / TABLE).read_text())
    return Prepared(
        images=np.load(path / IMAGES, mmap_mode="r", allow_pickle=False),
        labels=np.array(table["labels"], np.int64),
        groups=tuple(table["groups"]),
        names=tuple(table["names"]),
        classes=tuple(table["classes"]),
        split={part: np.array(index, np.int64) for part, index in table["split"].items()},
        mean=tuple(manifest["mean"]),
        std=tuple(manifest["std"]),
        digest=manifest["digest"],
        name=manifest["spec"]["name"],
        demo=manifest["demo"],
    )


def count(spec: DataSpec, root: Path | None) -> int:
    """Images in the training split, without decoding any."""
    return len(_split(spec, _dataset(spec, root).table())["train"])


def square(pixels: NDArray[np.uint8], side: int, channels: int) -> NDArray[np.uint8]:
    """The centre square of [h, w] or [h, w, 3], resized to [side, side, channels], antialiased."""
    image = Image.fromarray(pixels).convert("L" if channels == 1 else "RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    if box != (0, 0, side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(image).reshape(side, side, channels)


def _dataset(spec: DataSpec, root: Path | None) -> Dataset:
    data: Dataset = load("trainables.data", spec.name)(root, spec.params)
    return data


def _split(spec: DataSpec, table: Table) -> dict[str, Index]:
    return split(table.labels, table.groups, spec.val, spec.test, spec.seed, table.classes)


def _digest(spec: DataSpec, data: Dataset, table: Table, cache_root: Path) -> str:
    sources = [data.source(i) for i in range(len(table.names))]
    content = fingerprint.contents(sources, cache_root)
    labels = [table.classes[label] for label in table.labels]
    rows = sorted(zip(table.names, labels, table.groups, content, strict=True))
    return fingerprint.of([FORMAT, asdict(spec), table.classes, rows])


def _build(
    spec: DataSpec,
    data: Dataset,
    table: Table,
    parts: dict[str, Index],
    digest: str,
    path: Path,
    progress: Progress | None,
) -> None:
    """Write beside and rename; what a killed process left beside is removed first."""
    for stale in path.parent.glob(f"{path.name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    _check_space(spec, len(table.names), path.parent)
    beside = path.parent / f"{path.name}.tmp-{uuid.uuid4().hex[:8]}"
    beside.mkdir()
    try:
        sums = _decode_all(spec, data, len(table.names), beside / IMAGES, progress)
        mean, std = _statistics(sums[parts["train"]], spec.size**2)
        _write(beside / TABLE, _columns(table, parts))
        manifest = {"mean": mean, "std": std, "digest": digest, "spec": asdict(spec)}
        _write(beside / MANIFEST, {**manifest, "demo": data.demo, "format": FORMAT})
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    log.info("decoded %d images into %s", len(table.names), path)


def _decode_all(
    spec: DataSpec, data: Dataset, n: int, file: Path, progress: Progress | None
) -> NDArray[np.int64]:
    """Write the images; returns [n, 2, channels]: sum and sum of squares of every image."""
    shape = (n, spec.size, spec.size, spec.channels)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(file)
    sums = np.zeros((n, 2, spec.channels), np.int64)

    def decode(i: int) -> None:
        images[i] = square(data.read(i, spec.size), spec.size, spec.channels)
        flat = images[i].reshape(-1, spec.channels).astype(np.int64)
        sums[i] = flat.sum(0), (flat**2).sum(0)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for done, _ in enumerate(pool.map(decode, range(n)), start=1):
                if progress:
                    progress(done, n)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    images.flush()
    return sums


def _reserve(file: Path) -> None:
    """Take the disk space now: a full disk under a memory map kills the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as opened:
            os.posix_fallocate(opened.fileno(), 0, file.stat().st_size)


def _statistics(
    sums: NDArray[np.int64], pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, 0..1, from exact sums."""
    total, squares = sums.sum(0) / (len(sums) * pixels)
    std = np.sqrt(np.maximum(squares - total**2, 1.0))  # a blank set divides by 1/255, not by 0
    return tuple((total / 255).tolist()), tuple((std / 255).tolist())


def _columns(table: Table, parts: dict[str, Index]) -> dict[str, Any]:
    split = {part: index.tolist() for part, index in parts.items()}
    return {**asdict(table), "labels": table.labels.tolist(), "split": split}


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, allow_nan=False))


def _check_space(spec: DataSpec, n: int, folder: Path) -> None:
    need = n * spec.size**2 * spec.channels + SPARE
    free = shutil.disk_usage(folder).free
    if free < need:
        raise UserError(
            f"{folder}: decoding {n} images at {spec.size} px takes {need / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free; make room, or put the cache on another disk"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
