"""Does a cache that is larger than the memory train as fast as one that fits?

    python tests/benchmarks/memory.py --gigabytes 3 --limit 2 --at DIR

Trains a pretext task with the settings of profile `cpu` on drawn images, in turns: in a control
group that may use `--limit` GB in all, file pages included, and without a limit with the whole file
in memory. Each turn is a process of its own. Before a limited turn the file's pages are dropped,
and the process reads the file once, so that its group is full and every further page takes the
place of another. DIR must be on a disk, not in memory. Needs a memory control group that may be
written to: run it as root, or in `systemd-run --user --scope -p Delegate=yes`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
GROUPS = Path("/sys/fs/cgroup")
GB, BLOCK, CLASSES = 10**9, 4096, 4


def draw(file: Path, side: int, gigabytes: float) -> None:
    """Write random images [n, side, side, 3], block by block."""
    count = int(gigabytes * GB / (3 * side**2))
    rng, shape = np.random.default_rng(0), (count, side, side, 3)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    for at in range(0, count, BLOCK):
        part = images[at : at + BLOCK]
        part[:] = rng.integers(0, 256, part.shape, np.uint8)
    images.flush()


@contextmanager
def limited(size: int) -> Iterator[Path]:
    """Make a memory control group below this process's own, and remove it at the end."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().split()]
    own = {kinds: path.lstrip("/") for _, kinds, path in lines}
    version_1 = "memory" in own
    above = GROUPS / "memory" / own["memory"] if version_1 else GROUPS / own[""]
    group = above / f"benchmark-{os.getpid()}"
    group.mkdir()
    try:
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / name).write_text(str(size))
        yield group
    finally:
        group.rmdir()


def peak(group: Path) -> float:
    """Return the most that the group has used, in GB."""
    names = ("memory.max_usage_in_bytes", "memory.peak")
    return next(int((group / n).read_text()) / GB for n in names if (group / n).exists())


def child(args: argparse.Namespace) -> None:
    """Train for some seconds and print what was measured, as JSON."""
    if args.group:
        (args.group / "cgroup.procs").write_text(str(os.getpid()))
    import torch

    from trainables.bench.measure import turn
    from trainables.bench.pipelines import Ours
    from trainables.bench.recipes import Recipes
    from trainables.images.cache import Prepared
    from trainables.images.paging import rows_only

    images = np.load(args.at, mmap_mode="r")
    for at in range(0, len(images), BLOCK):
        images[at : at + BLOCK].max()  # fills the memory
    rows_only(images)
    rows = np.arange(len(images))
    names = tuple(map(str, rows))
    data = Prepared(
        names=names, labels=rows % CLASSES, groups=names, classes=("a", "b", "c", "d"),
        images=images, split={"train": rows, "val": rows[:0], "test": rows[:0]}, duplicates=(),
        merged=False, mean=(0.5,) * 3, std=(0.3,) * 3, digest="", name="drawn", demo=True,
    )  # fmt: skip
    device = torch.device("cpu")
    recipes = Recipes("cpu", device)
    ours = Ours(recipes.stage(args.task, recipes.data("demo"), data), data, device)
    before, cpu = _read(), time.process_time()
    done = turn(ours, args.seconds, device)
    trained = done.steps * recipes.sizes["batch"]
    cpu = (time.process_time() - cpu) / trained  # of other programs' work independent
    print(json.dumps({
        "rate": trained / done.seconds, "cpu": 1000 * cpu, "waited": done.waited / done.seconds,
        "read": (_read() - before) / (trained * images[0].nbytes),
    }))  # fmt: skip


def _read() -> int:
    """Return the bytes that this process has had read from the disk."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("read_bytes")).split()[1])


def run(args: argparse.Namespace, file: Path, group: Path | None) -> Any:
    """Return what a process measures, in a group or without."""
    with file.open("rb") as opened:
        if group:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, "--at", str(file), "--task", args.task]
    command += ["--seconds", str(args.seconds), "--child"]
    command += ["--group", str(group)] if group else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    where = f"limit {args.limit:g} GB" if group else "no limit"
    used = f", at most {peak(group):.2f} GB in use" if group else ""
    print(
        f"{where:12} {found['rate']:7.1f} images/s, {found['cpu']:.1f} ms of CPU each, "
        f"waited {found['waited']:.1%}, "
        f"{found['read']:.0%} of the pixels read from the disk{used}", flush=True,
    )  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Train from a cache larger than the memory.")
    add = parser.add_argument
    add("--gigabytes", type=float, default=3.0, metavar="N", help="of drawn images")
    add("--limit", type=float, default=2.0, metavar="N", help="GB of memory")
    add("--task", default="relative_location", metavar="NAME")
    add("--seconds", type=float, default=20.0, metavar="N", help="of a turn")
    add("--turns", type=int, default=3, metavar="N")
    add("--at", type=Path, metavar="DIR", help="a folder on a disk")
    add("--group", type=Path, help=argparse.SUPPRESS)
    add("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args)
    from trainables.bench.recipes import read

    with tempfile.TemporaryDirectory(dir=args.at) as folder:
        file = Path(folder) / "images.npy"
        draw(file, read("profile", "cpu")["cache_size"], args.gigabytes)
        ratios = []
        for _ in range(args.turns):
            free = run(args, file, None)
            with limited(int(args.limit * GB)) as group:
                ratios.append(run(args, file, group)["rate"] / free["rate"])
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{args.gigabytes:g} GB of images, {args.task}: with the limit at "
          f"{statistics.median(ratios):.2f} of the rate without (turns: {each})")  # fmt: skip


if __name__ == "__main__":
    main()
