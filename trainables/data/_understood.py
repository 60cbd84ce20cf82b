"""What a data set was understood to be: a plain record, for the dry run and the report.

notes = Notes()
notes.leave("rows without a file", ["a.jpg", "b.jpg"])
notes.say("train, val and test are the folders of those names")
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainables.data._csv import ENDINGS, Csv
from trainables.data._walk import Found

DAMAGED = "damaged images (data.params.damaged=skip)"


@dataclass(frozen=True)
class Count:
    """The size of one class or part."""

    images: int
    patient_groups: int


@dataclass(frozen=True)
class LeftOut:
    """Images, rows or files that are not used, and why; the first three as examples."""

    what: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableRead:
    """A CSV file: how it is written, and the columns used by their role."""

    file: str
    rows: int
    encoding: str
    delimiter: str
    columns: Mapping[str, str]


@dataclass(frozen=True)
class Understood:
    """A data set's images, patient groups, tables and whatever was decided while reading it."""

    classes: Mapping[str, Count]
    patient_groups: int
    largest_group: str  # the patient group with most images
    largest_images: int
    unlabelled: int
    given_split: Mapping[str, Count]  # {} if the split is drawn
    left_out: tuple[LeftOut, ...]
    tables: tuple[TableRead, ...]
    notes: tuple[str, ...]  # one sentence each


def left(what: str, names: Sequence[str]) -> list[LeftOut]:
    """Return the record of these names; [] if there is none."""
    return [LeftOut(what, len(names), tuple(names[:3]))] if names else []


@dataclass
class Notes:
    """What is noticed while a data set is read."""

    left_out: list[LeftOut] = field(default_factory=list)
    tables: list[TableRead] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    names: dict[str, Sequence[str]] = field(default_factory=dict)  # why -> all that is left out

    def leave(self, what: str, names: Sequence[str]) -> None:
        if names:
            self.names[what] = names
            self.left_out += left(what, names)

    def beside(self, found: Found) -> None:
        """Note what lies beside the images of a folder, but for tables and texts."""
        self.leave("masks", found.masks)
        self.leave("links to a folder above", found.loops)
        self.leave("links to files that are not there", found.broken)
        for ending, count in found.others.items():
            if ending not in ENDINGS:
                self.left_out.append(LeftOut(f"{ending} files", count))

    def read(self, table: Csv, **columns: str) -> None:
        """Note a table and its columns by their role."""
        name = table.path.name
        found = TableRead(name, len(table), table.encoding, table.delimiter, columns)
        self.tables.append(found)

    def say(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)
