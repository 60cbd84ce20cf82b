"""What a million images cost besides training: minutes and memory of every part, each by itself.

    python tests/benchmarks/rows.py --rows 1000000 --out rows.csv     # parts in the file are done
    python tests/benchmarks/rows.py --rows 20000 --parts duplicates bootstrap
    python tests/benchmarks/rows.py --rows 1000000 --parts table --labels many

Rows are drawn; a part is a process of its own. `table`: names without pixels, empty files in
folders of 10,000, four images a patient, ten classes, of which an image has one, or none to three.
`duplicates`: drawn lesions of 32 px, copies among them. `odc`: its memory from features to a step.
`probe`: both probes of features, cross-validated. `bootstrap`: all measures of as many test images.
Not timed: drawing.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

A_FOLDER, A_PATIENT, CLASSES = 10_000, 4, 10
SIDE, COPIED, BLOCK = 32, 100, 10_000
WIDTH, KEPT = 512, 256  # of features, and of those that ODC keeps
LIMIT = 8.0  # GB


@contextmanager
def timed(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"  {what}: {time.perf_counter() - begun:.1f} s", flush=True)


def write_table(root: Path, rows: int, many: bool) -> None:
    """Write the table and its empty image files. many: up to three labels an image."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (-(-rows // A_PATIENT), 3 if many else 1))
    counts = rng.integers(0, 4, len(labels)) if many else np.ones(len(labels), int)
    with (root / "labels.csv").open("w") as table:
        table.write("image,label,group,age,view\n")
        for i in range(rows):
            folder = root / "images" / f"part_{i // A_FOLDER:03}"
            if i % A_FOLDER == 0:
                folder.mkdir(parents=True)
            name, patient = f"image_{i:08}.png", i // A_PATIENT
            (folder / name).touch()
            own = {f"class {label}" for label in labels[patient, : counts[patient]]}
            said = "|".join(sorted(own)) or "none of them"
            table.write(f"{name},{said},patient {patient:07},{i % 90},PA\n")


def table(rows: int, many: bool) -> None:
    from trainables.images.cache import Source
    from trainables.spec import DataSpec

    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder), rows, many)
        params = {"labels": "many", "exclude_classes": ["none of them"]} if many else {}
        spec = DataSpec("table", params, size=96, channels=1, val=0.15, test=0.15, seed=0)
        with timed("listed and split"):
            source = Source(spec, Path(folder))
        with timed("described"):
            found = source.images.understood()
    sizes = ", ".join(f"{len(index)} {part}" for part, index in source.split.items())
    print(f"  {len(source.table.names)} rows, {found.patient_groups} patient groups: {sizes}")


def lesions(rows: int, file: Path) -> np.ndarray:
    """Draw dark ellipses on textured skin, of which as many are alike as in dermoscopy.

    The last COPIED are the first ones, mirrored.
    """
    rng, shape = np.random.default_rng(0), (rows, SIDE, SIDE, 1)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    place = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    for at in range(0, rows, BLOCK):
        n = min(BLOCK, rows - at)
        draw = rng.uniform(0, 1, (6, n, 1, 1)).astype(np.float32)
        x, y = place - (draw[0] - 0.5) / 3, place[:, None] - (draw[1] - 0.5) / 3
        inside = (x / (0.1 + draw[2] / 4)) ** 2 + (y / (0.1 + draw[3] / 4)) ** 2
        texture = sum(
            rng.normal(0, 12, (n, cells, cells)).repeat(SIDE // cells, 1).repeat(SIDE // cells, 2)
            for cells in (8, 16)
        )
        edge = (12 * (inside - 1)).clip(-50, 50)
        grey = 190 - (50 + 80 * draw[4]) / (1 + np.exp(edge)) + texture
        images[at : at + n] = grey.clip(0, 255)[..., None]
    images[rows - COPIED :] = images[:COPIED, :, ::-1]
    return images


def duplicates(rows: int, _: bool) -> None:
    from trainables.images.duplicates import find, merged

    with tempfile.TemporaryDirectory() as folder:
        images = lesions(rows, Path(folder) / "images.npy")
        groups = [str(row) for row in range(rows)]
        with timed("found"):
            pairs = find(images, groups)
    with timed("merged"):
        merged(groups, pairs)
    copies = {(row, rows - COPIED + row) for row in range(COPIED)}
    known = sum((pair.a, pair.b) in copies for pair in pairs)
    print(f"  {known} of {COPIED} copies found, {len(pairs) - known} other pairs")


def odc(rows: int, _: bool) -> None:
    import torch
    from torch.nn.functional import normalize

    from trainables.pretext._clusters import Memory

    clusters, minimum = rows // 64, 16
    memory, generator = Memory(rows, clusters, KEPT), torch.Generator().manual_seed(0)
    middles = torch.randn(rows // 200, KEPT, generator=generator)
    for some in memory.bank.split(BLOCK):
        own = middles[torch.randint(len(middles), (len(some),), generator=generator)]
        noise = torch.randn(len(some), KEPT, generator=generator)
        some.copy_(normalize(own + noise))
    with timed(f"k-means, {clusters} clusters"):
        memory.fill(0, minimum)
    index = torch.randperm(rows, generator=generator)[:256]
    with timed("a step's update and sizes"):
        memory.update(index, torch.randn(256, KEPT, generator=generator), 0.5)
        assert int(memory.sizes().min()) >= 0
    with timed("centroids (every ten steps)"):
        memory.refresh()


def probe(rows: int, _: bool) -> None:
    import torch

    from trainables.images.cache import Prepared
    from trainables.kinds.probe import Judged, probed

    rng = np.random.default_rng(0)
    labels, names = rng.integers(0, CLASSES, rows), tuple(map(str, range(rows)))
    features = torch.from_numpy(rng.normal(0, 1, (rows, WIDTH)).astype(np.float32))
    features[np.arange(rows), labels] += 2
    data = Prepared(
        names=names, labels=labels, groups=tuple(str(k // A_PATIENT) for k in range(rows)),
        classes=tuple(map(str, range(CLASSES))), images=np.zeros((0, 1, 1, 1), np.uint8),
        split={"train": np.arange(rows), "val": np.arange(0), "test": np.arange(0)}, duplicates=(),
        merged=False, mean=(0.5,), std=(0.3,), digest="", name="drawn", demo=True,
    )  # fmt: skip
    with timed("both, cross-validated"):
        found = probed(Judged(fraction=1.0), data, 0, lambda *parts: [features[p] for p in parts])
    assert found.score
    for name, measure in found.score.measures.items():
        print(f"  {name}: {measure.value:.1f} %")


def bootstrap(rows: int, _: bool) -> None:
    from trainables.downstream.measures import judge
    from trainables.downstream.metrics import GroupBootstrap

    rng = np.random.default_rng(0)
    labels, groups = rng.integers(0, CLASSES, rows), (np.arange(rows) // A_PATIENT).astype(str)
    said = rng.random((rows, CLASSES)) + np.eye(CLASSES)[labels]
    with timed("patient groups drawn 2,000 times"):
        split = GroupBootstrap(labels, groups, CLASSES)
    judged = judge(split, said / said.sum(1, keepdims=True))
    for name in ("balanced_accuracy", "ece", "macro_auroc"):
        with timed(name):
            judged.values(name)


PARTS: dict[str, Callable[[int, bool], None]] = {
    one.__name__: one for one in (table, duplicates, odc, probe, bootstrap)
}


def measured(name: str, args: argparse.Namespace) -> list[str]:
    """Run a part as a process; return its name, rows, minutes and most memory, in GB."""
    command = [sys.executable, __file__, "--part", name, "--rows", str(args.rows)]
    print(f"{name}, {args.rows} rows", flush=True)
    begun = time.perf_counter()
    child = subprocess.Popen([*command, "--labels", args.labels])
    _, status, used = os.wait4(child.pid, 0)
    assert not status, f"{name} failed"
    minutes, peak = (time.perf_counter() - begun) / 60, used.ru_maxrss * 1024 / 1e9
    said = "" if peak < LIMIT else ": TOO MUCH"
    print(f"  {minutes:.1f} minutes with drawing, {peak:.2f} GB of memory{said}", flush=True)
    return [name, str(args.rows), f"{minutes:.1f}", f"{peak:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description="What many images cost besides training.")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--labels", choices=["one", "many"], default="one", help="of the table")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART")
    parser.add_argument("--out", type=Path, metavar="FILE", help="keep what is measured here")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        return PARTS[args.part](args.rows, args.labels == "many")
    known = [*csv.reader(args.out.open())] if args.out and args.out.exists() else []
    for name in args.parts:
        if [name, str(args.rows)] not in [row[:2] for row in known]:
            row = measured(name, args)
            if args.out:
                with args.out.open("a", newline="") as file:
                    csv.writer(file).writerow(row)


if __name__ == "__main__":
    main()
