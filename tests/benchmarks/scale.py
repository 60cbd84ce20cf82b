"""What a large search costs besides training: listing its store, reporting on it, tracking it.

    python tests/benchmarks/scale.py --chains 10000

Made-up results of so many chains of seven tasks, in real files. Tracking is compared with stages
of 60 s.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search import report  # noqa: E402
from search.chains.chain import enumerate_chains  # noqa: E402
from search.report import points  # noqa: E402
from search.store.stage_store import StageStore  # noqa: E402
from search.tracking.mirror import Mirror  # noqa: E402
from search.tracking.uri import Address  # noqa: E402
from tests.measures import BALANCED  # noqa: E402
from tests.search.report.conftest import CLASSES, finished  # noqa: E402

T = TypeVar("T")
TRACKED = 50  # chains
STAGE = 60.0  # seconds


def timed(what: str, action: Callable[[], T]) -> T:
    begun = time.perf_counter()
    result = action()
    print(f"{what:42} {time.perf_counter() - begun:8.2f} s", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Store, report and tracker of a large search.")
    parser.add_argument("--chains", type=int, default=10_000, metavar="N")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    chains = islice(enumerate_chains("abcdefg", 7), args.chains)
    scores = {"scratch": 49.3} | {str(chain): rng.normal(70, 3) for chain in chains}
    with tempfile.TemporaryDirectory() as folder:
        store, out = Path(folder) / "store", Path(folder) / "out"
        StageStore(store)
        search = timed(f"(making {args.chains} chains)", lambda: finished(store, scores, CLASSES))
        keys = timed("listing the store", StageStore(store).keys)
        print(f"  {len(keys)} keys")
        table = timed(
            "report: the table, compared",
            lambda: report.build(search.results, search.store, BALANCED),
        )
        found = timed(
            "report: summary and table as files",
            lambda: report.write(table, search.plan, search.info, search.store, out),
        )
        timed(
            "report: figures and page",
            lambda: report.illustrate(found, search.plan, search.store, out),
        )
        page = (out / "report" / "index.html").stat().st_size
        print(f"  page of {page / 1e6:.1f} MB")
        print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB at most")
        track(table, search, folder)


def track(table: report.rows.Table, search: object, folder: str) -> None:
    address = Address.of(f"sqlite:///{folder}/mlflow.db")
    tracker = Mirror(address, "scale", Path(folder), "no names")
    tracker.connect()
    tracker.start(search.plan, search.info)  # type: ignore[attr-defined]
    rows = table.scored[:TRACKED]
    begun = time.perf_counter()
    for row in rows:
        tracker.log_chain(row, points.curves(row, search.store, BALANCED.name))  # type: ignore[attr-defined]
    each = (time.perf_counter() - begun) / len(rows)
    print(f"tracking a chain: {each:.3f} s, {100 * each / STAGE:.2f} % of a stage of {STAGE:.0f} s")


if __name__ == "__main__":
    main()
