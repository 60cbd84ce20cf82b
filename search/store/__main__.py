"""Look after a store by hand.

python -m search.store list|verify|prune --store ROOT
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from search.store.stage_store import STAMP, StageStore
from trainables.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m search.store", description="Look after a store"
    )
    parser.add_argument("action", choices=("list", "verify", "prune"))
    parser.add_argument("--store", required=True, help="the store's directory")
    chosen = parser.parse_args(argv)
    if not (Path(chosen.store) / STAMP).exists():
        sys.stderr.write(f"store {chosen.store}: no {STAMP} in it, so it is no store\n")
        return 2
    try:
        store = StageStore(chosen.store)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    lines = {"list": store.keys, "verify": store.verify, "prune": store.prune}[chosen.action]()
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(chosen.action == "verify" and bool(lines))


if __name__ == "__main__":
    sys.exit(main())
