"""What a data set was understood to be, for the dry run and the page of images.

understood = Understood(found, table, split, leak)
understood.lines()
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import Table
from trainables.data import _understood as record
from trainables.data._understood import LeftOut
from trainables.images.forms import Forms
from trainables.images.splits import Index

if TYPE_CHECKING:
    from trainables.images.pool import Sizes

MOST = 20  # classes shown
LARGE = 0.2  # of the images; a larger patient group may stand for unknown ones


@dataclass(frozen=True)
class Understood:
    """The record of a data set with its split, and what a published protocol lets cross it.

    table: of the images that are used; split: positions in it. forms and findings are known when
    the images are decoded; page: where three images of every class are shown. pool: what pretext
    tasks see; None: the training images. pool_left_out: names by reason.
    """

    found: record.Understood
    table: Table
    split: Mapping[str, Index]
    leak: str
    forms: Forms | None = None
    findings: tuple[str, ...] = ()
    page: Path | None = None
    pool: "Sizes | None" = None
    pool_left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def parts(self) -> dict[str, dict[str, int]]:
        """The images of every class in each part of the split."""
        having = {label: self.table.having(k) for k, label in enumerate(self.table.classes)}
        return {
            label: {part: int(have[rows].sum()) for part, rows in self.split.items()}
            for label, have in having.items()
        }

    def as_json(self) -> dict[str, object]:
        sizes = {part: len(rows) for part, rows in self.split.items()}
        more = {"split": sizes, "split_by_class": self.parts, "leak": self.leak}
        forms = asdict(self.forms) if self.forms else None
        page = str(self.page) if self.page else None
        left = {why: len(names) for why, names in self.pool_left_out.items()}
        pool = {**asdict(self.pool), "left_out": left} if self.pool else None
        decoded = {"forms": forms, "findings": list(self.findings), "page": page, "pool": pool}
        return {"understood": asdict(self.found) | more | decoded}

    def lines(self) -> Iterator[str]:
        """Yield a line a subject; classes, left out and notes may have several."""
        yield from (f"table     {one}" for one in self.tables())
        yield from (f"class     {one}" for one in self.classes())
        yield f"groups    {self.groups()}"
        yield f"split     {self.sizes()}"
        if self.forms:
            yield f"images    {in_words(self.forms)}"
        yield from self.remarks()
        yield from (f"note      {one}" for one in self.findings)
        if self.page:
            yield f"shown     {self.page}, with three images of every class"

    def classes(self) -> Iterator[str]:
        """Yield the images, patient groups and split sizes of every class."""
        for label in self.table.classes[:MOST]:
            count = self.found.classes[label]
            there = ", ".join(f"{n} {part}" for part, n in self.parts[label].items())
            groups = f"{count.patient_groups} patient group{'s' * (count.patient_groups != 1)}"
            yield f"{label}: {count.images} images of {groups}; {there}"
        if (more := len(self.table.classes) - MOST) > 0:
            yield f"and {more} more classes"

    def groups(self) -> str:
        found = self.found
        if found.largest_images == 1:
            return "every image is its own patient group: copies of a patient may cross the split"
        fraction = found.largest_images / len(self.table.names)
        large = f", {fraction:.0%} of all; is it one patient?" if fraction > LARGE else ""
        return (
            f"{found.patient_groups} patient groups; the largest, {found.largest_group}, has "
            f"{found.largest_images} images{large}"
        )

    def sizes(self) -> str:
        drawn = "given by the data set" if self.found.given_split else "drawn"
        return f"{', '.join(f'{len(rows)} {part}' for part, rows in self.split.items())}; {drawn}"

    def tables(self) -> Iterator[str]:
        for one in self.found.tables:
            used = ", ".join(f"{role}={column}" for role, column in one.columns.items())
            yield f"{one.file}: {one.rows} rows, {one.encoding}, by {one.delimiter}; {used}"

    def left_out(self) -> Iterator[str]:
        """Yield what is not used, with the reason and examples."""
        yield from map(_left_out, self.found.left_out)
        for why, names in self.pool_left_out.items():
            yield _left_out(LeftOut(why, len(names), tuple(names[:3])))

    def notes(self) -> Iterator[str]:
        """Yield what was decided while the data set was read."""
        yield from self.found.notes
        if self.leak:
            yield self.leak

    def remarks(self) -> Iterator[str]:
        """Yield what a search says too: images that it does not use, and decisions."""
        found = self.found
        if self.pool:
            yield f"pool      {in_pool(self.pool)}"
        elif found.unlabelled:
            yield f"unlabelled {found.unlabelled} images, which no task sees"
        yield from (f"left out  {one}" for one in self.left_out())
        yield from (f"note      {one}" for one in self.notes())


def in_pool(found: "Sizes") -> str:
    """Describe the images that pretext tasks see."""
    said = (
        f"pretext tasks see {found.images} images: {found.labelled} to train on and "
        f"{found.unlabelled} without a label"
    )
    if not found.unknown:
        return said
    return (
        f"{said}; {found.unknown} of these name no patient, so some may show one of validation or "
        "test"
    )


def in_words(forms: Forms) -> str:
    """Describe modes and sizes: `240 JPEG RGB; 200 x 150 px`."""
    modes = ", ".join(f"{count} {mode}" for mode, count in forms.modes.items())
    if forms.sizes == 1:
        return f"{modes}; {_size(forms.commonest)} px"
    return (
        f"{modes}; {forms.sizes} sizes from {_size(forms.smallest)} to {_size(forms.largest)} px, "
        f"most often {_size(forms.commonest)} ({forms.commonest_images} images)"
    )


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _left_out(one: LeftOut) -> str:
    if not one.examples:
        return f"{one.count} {one.what}"
    more = ", ..." if one.count > len(one.examples) else ""
    return f"{one.count} {one.what} ({', '.join(one.examples)}{more})"
