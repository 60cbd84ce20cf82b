"""How long a table of many rows takes to be listed and split, and how much memory.

    python tests/benchmarks/rows.py --rows 1000000
    python tests/benchmarks/rows.py --rows 1000000 --labels many

Drawn names and no pixels: empty files in folders of 10,000, four images a patient, ten classes, of
which an image has one, or none to three.
Not timed: making the files.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from trainables.images.cache import Source  # noqa: E402
from trainables.spec import DataSpec  # noqa: E402

A_FOLDER, A_PATIENT, CLASSES = 10_000, 4, 10


def make(root: Path, rows: int, many: bool) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description="List and split a large table.")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--labels", choices=["one", "many"], default="one")
    parser.add_argument("--at", type=Path, metavar="DIR", help="keep the files here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = args.at or Path(folder)
        if not (root / "labels.csv").exists():
            root.mkdir(parents=True, exist_ok=True)
            make(root, args.rows, args.labels == "many")
        params = {"labels": "many", "exclude_classes": ["none of them"]}
        given = params if args.labels == "many" else {}
        spec = DataSpec("table", given, size=96, channels=1, val=0.15, test=0.15, seed=0)
        begun = time.perf_counter()
        source = Source(spec, root)
        listed = time.perf_counter()
        found = source.images.understood()
        seconds = listed - begun, time.perf_counter() - listed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sizes = ", ".join(f"{len(index)} {part}" for part, index in source.split.items())
    print(f"{len(source.table.names)} rows, {found.patient_groups} patient groups: {sizes}")
    print(f"listed and split in {seconds[0]:.1f} s, described in {seconds[1]:.1f} s")
    print(f"at most {peak:.2f} GiB of memory")


if __name__ == "__main__":
    main()
