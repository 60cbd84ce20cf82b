"""The images that all pipelines read: files on disk, and the cache that is built from them."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from trainables.data import Dataset
from trainables.images.cache import Prepared
from trainables.images.decoding import decode_all, statistics
from trainables.plugins import load
from trainables.processor import cores
from trainables.spec import DataSpec

DRAWN_SIZE = (600, 450)  # px of the generated files, as of many dermoscopy images
LEAST, BATCHES = 256, 4  # generated images: this many batches, and at least LEAST images
USED = 1400  # images used, at most
READS = 4000  # images read to time the cache


@dataclass(frozen=True)
class Images:
    """One image per row of `prepared` and of `files`; all are in its training split."""

    prepared: Prepared
    files: list[Path]
    decoded_per_second: float  # images, on all cores


def collect(spec: DataSpec, root: Path | None, batch: int, work: Path) -> Images:
    """Decode up to USED images of `root`, or generated files, into `work`, and time it."""
    folder = root or draw(work / "jpeg", max(LEAST, BATCHES * batch))
    data: Dataset = load("trainables.data", spec.name)(folder, spec.params)
    table, file = data.table(), work / "images.npy"
    rows = np.arange(min(USED, len(table.names)))
    count, begun = len(rows), time.perf_counter()
    sums = decode_all(spec, data, count, file, None)
    decoded_per_second = count / (time.perf_counter() - begun)
    mean, std = statistics(sums, spec.size**2)
    prepared = Prepared(
        images=np.load(file, mmap_mode="r"), labels=table.labels[rows],
        groups=table.groups[:count], names=table.names[:count], classes=table.classes,
        split={"train": rows}, duplicates=(), merged=False, mean=mean, std=std, digest="",
        name=spec.name, demo=root is None,
    )  # fmt: skip
    return Images(prepared, [Path(data.source(row)) for row in range(count)], decoded_per_second)


def draw(folder: Path, count: int) -> Path:
    """Write generated lesions as JPEG files of a usual size, one sub-folder per class."""
    with ProcessPoolExecutor(cores()) as pool:
        list(pool.map(partial(_save, folder, count), range(count), chunksize=8))
    return folder


def _save(folder: Path, count: int, row: int) -> None:
    drawn = _drawn(count)
    table = drawn.table()
    path = folder / table.classes[table.labels[row]] / f"{row:06}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(drawn.read(row)).resize(DRAWN_SIZE, Image.Resampling.BICUBIC)
    picture.save(path, quality=90)


@cache
def _drawn(count: int) -> Dataset:
    found: Dataset = load("trainables.data", "demo")(None, {"n": count, "size": 128})
    return found


def read_per_second(prepared: Prepared, batch: int) -> float:
    """Return the images per second that one thread reads from the cache in random batches."""
    rng = np.random.default_rng(0)
    buffer = np.empty((batch, *prepared.images.shape[1:]), np.uint8)
    begun, rounds = time.perf_counter(), -(-READS // batch)
    for _ in range(rounds):
        rows = rng.integers(0, len(prepared.images), batch)
        prepared.images.take(rows, axis=0, out=buffer, mode="clip")
    return rounds * batch / (time.perf_counter() - begun)
