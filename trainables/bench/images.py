"""The images that all pipelines read: files on disk, and the cache that is built of them."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data import Dataset
from trainables.images.cache import Prepared
from trainables.images.decoding import decode_all, statistics
from trainables.plugins import load
from trainables.processor import cores
from trainables.spec import DataSpec

DRAWN_SIZE = (600, 450)  # px of the generated files: as dermoscopy images are
LEAST, BATCHES = 256, 4  # generated images: so many batches, but not fewer
USED = 1400  # images read, at most
READS = 4000  # images of the timed reading


@dataclass(frozen=True)
class Images:
    """Rows of `prepared` and `files` are the same images; all are trained on."""

    spec: DataSpec
    prepared: Prepared
    files: list[Path]
    build: float  # images/s of decoding them, on all cores
    generated: bool

    @property
    def index(self) -> NDArray[np.int64]:
        return self.prepared.split["train"]


def collect(spec: DataSpec, root: Path | None, batch: int, work: Path) -> Images:
    """Up to `USED` images of `root`, or generated files; decoded into `work` and timed."""
    folder = root or draw(work / "jpeg", max(LEAST, BATCHES * batch))
    data: Dataset = load("trainables.data", spec.name)(folder, spec.params)
    table, file = data.table(), work / "images.npy"
    count = min(USED, len(table.names))
    rows = np.arange(count)
    begun = time.perf_counter()
    sums = decode_all(spec, data, count, file, None)
    rate = count / (time.perf_counter() - begun)
    mean, std = statistics(sums, spec.size**2)
    pixels = np.load(file, mmap_mode="r")
    prepared = Prepared(
        pixels, table.labels[rows], table.groups[:count], table.names[:count],
        table.classes, {"train": rows}, (), False, mean, std, "", spec.name, root is None,
    )  # fmt: skip
    return Images(
        spec, prepared, [Path(data.source(row)) for row in range(count)], rate, root is None
    )


def draw(folder: Path, count: int) -> Path:
    """Generated lesions as JPEG files of a usual size, one sub-folder a class."""
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


def read_rate(prepared: Prepared, batch: int) -> float:
    """Images/s of reading random batches from the cache, by one thread."""
    rng = np.random.default_rng(0)
    buffer = np.empty((batch, *prepared.images.shape[1:]), np.uint8)
    begun, rounds = time.perf_counter(), -(-READS // batch)
    for _ in range(rounds):
        rows = rng.integers(0, len(prepared.images), batch)
        prepared.images.take(rows, axis=0, out=buffer, mode="clip")
    return rounds * batch / (time.perf_counter() - begun)
