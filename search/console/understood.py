"""What a data set was understood to be, for the dry run.

understood = images.understood
understood.lines()
"""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from trainables.data import _understood as record
from trainables.data._understood import LeftOut

if TYPE_CHECKING:
    from trainables.images.pool import Sizes

MOST = 20  # classes on one line


@dataclass(frozen=True)
class Understood:
    """The record of a data set with its split, and what a published protocol lets cross it.

    pool: what pretext tasks see; None: the training images. pool_left_out: names by reason.
    """

    found: record.Understood
    split: Mapping[str, Sized]
    leak: str
    pool: "Sizes | None" = None
    pool_left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        sizes = {part: len(rows) for part, rows in self.split.items()}
        left = {why: len(names) for why, names in self.pool_left_out.items()}
        pool = {**asdict(self.pool), "left_out": left} if self.pool else None
        own = {"split": sizes, "leak": self.leak, "pool": pool}
        return {"understood": asdict(self.found) | own}

    def lines(self) -> Iterator[str]:
        """Yield a line a subject; left out and notes may have several."""
        found = self.found
        yield from (f"table     {one}" for one in _tables(found))
        shown = [
            f"{label} {count.images} of {count.patient_groups}"
            for label, count in found.classes.items()
        ]
        more = f", and {len(shown) - MOST} more classes" if len(shown) > MOST else ""
        yield f"classes   images of patient groups: {', '.join(shown[:MOST])}{more}"
        yield f"groups    {_groups(found)}"
        drawn = "given by the data set" if found.given_split else "drawn"
        sizes = ", ".join(f"{len(rows)} {part}" for part, rows in self.split.items())
        yield f"split     {sizes}; {drawn}"
        yield from self.remarks()

    def remarks(self) -> Iterator[str]:
        """Yield what a search says too: images that it does not use, and decisions."""
        found = self.found
        if self.pool:
            yield f"pool      {_pool(self.pool)}"
        elif found.unlabelled:
            yield f"unlabelled {found.unlabelled} images, which no task sees"
        for why, names in self.pool_left_out.items():
            yield f"left out  {_left_out(LeftOut(why, len(names), tuple(names[:3])))}"
        yield from (f"left out  {_left_out(one)}" for one in found.left_out)
        yield from (f"note      {one}" for one in found.notes)
        if self.leak:
            yield f"note      {self.leak}"


def _pool(found: "Sizes") -> str:
    said = (
        f"pretext tasks see {found.labelled + found.unlabelled} images: {found.labelled} to train "
        f"on and {found.unlabelled} without a label"
    )
    if not found.unknown:
        return said
    return (
        f"{said}; {found.unknown} of these name no patient, so some may show one of validation or "
        "test"
    )


def _groups(found: record.Understood) -> str:
    if found.largest_images == 1:
        return "every image is its own patient group: copies of a patient may cross the split"
    return (
        f"{found.patient_groups} patient groups; the largest, {found.largest_group}, has "
        f"{found.largest_images} images"
    )


def _tables(found: record.Understood) -> Iterator[str]:
    for one in found.tables:
        used = ", ".join(f"{role}={column}" for role, column in one.columns.items())
        yield f"{one.file}: {one.rows} rows, {one.encoding}, by {one.delimiter}; {used}"


def _left_out(one: LeftOut) -> str:
    if not one.examples:
        return f"{one.count} {one.what}"
    more = ", ..." if one.count > len(one.examples) else ""
    return f"{one.count} {one.what} ({', '.join(one.examples)}{more})"
