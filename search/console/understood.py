"""What a data set was understood to be, for the dry run.

understood = Understood(source.images.understood(), source.split, source.leak)
understood.lines()
"""

from collections.abc import Iterator, Mapping, Sized
from dataclasses import asdict, dataclass

from trainables.data import _understood as record
from trainables.data._understood import LeftOut

MOST = 20  # classes on one line


@dataclass(frozen=True)
class Understood:
    """The record of a data set with its split, and what a published protocol lets cross it."""

    found: record.Understood
    split: Mapping[str, Sized]
    leak: str

    def as_json(self) -> dict[str, object]:
        sizes = {part: len(rows) for part, rows in self.split.items()}
        return {"understood": asdict(self.found) | {"split": sizes, "leak": self.leak}}

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
        if found.unlabelled:
            yield f"unlabelled {found.unlabelled} images, which no task sees"
        yield from (f"left out  {_left_out(one)}" for one in found.left_out)
        yield from (f"note      {one}" for one in found.notes)
        if self.leak:
            yield f"note      {self.leak}"


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
