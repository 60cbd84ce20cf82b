"""The images that all pipelines read: files on disk, and the cache that is built of them."""

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import Progress as Bar

from trainables.data import Dataset
from trainables.images.cache import Prepared, open_cache, prepare
from trainables.images.decoding import OnDecoded, decode_all
from trainables.plugins import load
from trainables.spec import DataSpec

DRAWN, DRAWN_SIZE = 2000, (600, 450)  # files of generated images, px: as dermoscopy images are
USED = 1400  # training images, at most
BUILT = 1000  # images of the timed build
READS = 4000  # images of the timed reading


@dataclass(frozen=True)
class Images:
    """Rows of `prepared` and `files` are the same images."""

    spec: DataSpec
    data: Dataset
    prepared: Prepared
    files: list[Path]
    index: np.ndarray[tuple[int], np.dtype[np.int64]]  # those trained on
    generated: bool


def collect(spec: DataSpec, root: Path | None, work: Path) -> Images:
    """The data set in `root`, or generated files; decoded into `work`. Shows its progress."""
    folder = root or draw(work / "jpeg")
    with progress_bar("decoding images") as bar:
        prepared = open_cache(prepare(spec, folder, work / "cache", bar))
    data: Dataset = load("trainables.data", spec.name)(folder, spec.params)
    files = [Path(data.source(row)) for row in range(len(prepared.names))]
    index = np.sort(np.random.default_rng(0).permutation(prepared.split["train"])[:USED])
    return Images(spec, data, prepared, files, index, root is None)


def draw(folder: Path) -> Path:
    """Generated lesions as JPEG files of a usual size, one sub-folder a class."""
    drawn = load("trainables.data", "demo")(None, {"n": DRAWN, "size": 128})
    table = drawn.table()

    def save(row: int) -> None:
        label = table.classes[table.labels[row]]
        path = folder / label / f"{table.names[row]}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(drawn.read(row)).resize(DRAWN_SIZE, Image.Resampling.BICUBIC)
            picture.save(path, quality=90)

    with progress_bar("drawing images") as bar, ThreadPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(save, range(DRAWN)), start=1):
            bar(done, DRAWN)
    return folder


def build_rate(images: Images) -> float:
    """Images/s of decoding into a new cache, on all cores."""
    count = min(BUILT, len(images.files))
    with tempfile.TemporaryDirectory() as folder, progress_bar("timing the cache") as bar:
        begun = time.perf_counter()
        decode_all(images.spec, images.data, count, Path(folder) / "images.npy", bar)
        return count / (time.perf_counter() - begun)


def read_rate(prepared: Prepared, batch: int) -> float:
    """Images/s of reading random batches from the cache, by one thread."""
    rng = np.random.default_rng(0)
    buffer = np.empty((batch, *prepared.images.shape[1:]), np.uint8)
    begun, rounds = time.perf_counter(), -(-READS // batch)
    for _ in range(rounds):
        rows = rng.integers(0, len(prepared.images), batch)
        prepared.images.take(rows, axis=0, out=buffer, mode="clip")
    return rounds * batch / (time.perf_counter() - begun)


@contextmanager
def progress_bar(what: str) -> Iterator[OnDecoded]:
    with Bar(transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
