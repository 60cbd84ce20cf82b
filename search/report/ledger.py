"""The ledger `test_looks.csv`, beside the stage store: who scored test images, and when.

    seen = record(use(plan, rows, store, out), folder(store))
    seen.earlier                    # reports that scored the same images before

The more often test images are scored, the less they still test. Scoring them again is possible,
and the page says so. The same results, reported again, count once.
"""

import csv
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from search.chains.plan import Plan
from search.report import stored
from search.report.stored import Store
from search.report.table import Row
from trainables.durable import kernel_lock, replacing

log = logging.getLogger(__name__)
FILE = "test_looks.csv"
ANY_BYTES = "surrogateescape"  # a path may hold bytes that are no UTF-8


@dataclass(frozen=True)
class Use:
    """A report that scored test images. data: the digest of their names and labels.

    So they are the same ones at another size, and in a split of another name.
    """

    time: str
    space: str
    data: str
    split: str
    chains: str
    out: str
    keys: str

    @property
    def content(self) -> tuple[str, ...]:
        """Everything but the time; equal for one result that is reported twice."""
        return (self.data, self.split, self.space, self.out, self.chains, self.keys)


@dataclass(frozen=True)
class Seen:
    """earlier: uses of the same images before this one. unrecorded: why it isn't in the ledger."""

    earlier: int
    unrecorded: str = ""


def use(plan: Plan, rows: Iterable[Row], store: Store, out: Path) -> Use:
    """Return the use of the test images by these rows, now."""
    data, scored = plan.space.data, [*rows]
    keys = [key for row in scored for key in _keys(row)]
    merged = ", near-duplicates merged" if data.merge_duplicates else ""
    return Use(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        space=plan.space.name,
        data=stored.images(store, keys[0], "test"),
        split=f"val {data.val:g}, test {data.test:g}, seed {plan.space.seed}{merged}",
        chains=" ".join(row.chain for row in scored),
        out=str(out.absolute()),
        keys=" ".join(keys),
    )


def folder(store: Store) -> Path:
    """Return the folder of the ledger: the one that the store is in."""
    return store.path("any").parent.parent


def record(new: Use, where: Path) -> Seen:
    """Append a use to the ledger unless it is there; return how many were there before it."""
    path = where / FILE
    try:
        with kernel_lock(where / f".{FILE}.lock"):
            known = read(path)
            place = next((k for k, one in enumerate(known) if one.content == new.content), None)
            if place is None:
                _write(path, [*known, new])
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        log.warning("%s: must be writable to record the use of test images (%s)", path, reason)
        return Seen(0, reason)
    return Seen(sum(one.data == new.data for one in known[:place]))


def read(path: Path) -> list[Use]:
    """Return all uses, the oldest first; [] without a ledger."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors=ANY_BYTES) as file:
        rows = csv.DictReader(file)
        names = [one.name for one in fields(Use)]
        if rows.fieldnames != names:
            raise ValueError(f"must have the columns {', '.join(names)}")
        return [Use(**row) for row in rows]


def _keys(row: Row) -> Iterator[str]:
    """Yield the keys of the scores whose test predictions count."""
    if row.fresh_keys:
        yield from row.fresh_keys
    elif row.downstream_key:
        yield from (row.downstream_key, *row.repeat_keys)


def _write(path: Path, uses: list[Use]) -> None:
    with replacing(path) as beside:
        with beside.open("w", newline="", encoding="utf-8", errors=ANY_BYTES) as file:
            writer = csv.DictWriter(file, [one.name for one in fields(Use)])
            writer.writeheader()
            writer.writerows(map(asdict, uses))
