"""What the cells of a label or patient column mean: spellings, empty cells, several labels.

spellings({"MEL": 9, "mel ": 1})     # {"MEL": "MEL", "mel ": "MEL"}
mapping({"Finding": ["Pneumonia", "Edema"]}, classes, "data.params.classes")   # old -> new
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from trainables.errors import UserError
from trainables.plugins import unknown

EMPTY = frozenset({"", "nan", "na", "n/a", "#n/a", "#na", "<na>", "null", "nat"})  # folded cells
PLACEHOLDERS = EMPTY | {
    "none", "unknown", "unk", "-1", "-1.0", "missing", "nil", "undefined", "unspecified",
    "notavailable", "notgiven", "notapplicable", "anonymous", "anon", "anonymized", "anonymised",
    "n.a.", "n.d.", "nd", "tbd", "xxx", "-9", "-99", "-999", "?", "-", "--", ".",
}  # fmt: skip
UNKNOWN = re.compile(r"(patient|subject|person|case|lesion)?unknown(patient|subject|id)?")
SEPARATORS = "|;,&+/"
LIST = re.compile(r"\[(.*)\]")  # as Python writes it
WHOLE = re.compile(r"(-?\d+)\.0+")


def folded(label: str) -> str:
    """Return the label without case and spaces."""
    return "".join(unicodedata.normalize("NFC", label).split()).casefold()


def is_placeholder(patient: str) -> bool:
    """Return whether a patient's cell names no patient."""
    word = re.sub(r"[\s_]", "", patient).casefold()
    return word in PLACEHOLDERS or bool(UNKNOWN.fullmatch(word))


def known(cells: Sequence[str]) -> list[str | None]:
    """Return the labels of a column; None where a cell is empty.

    Numbers lose the `.0` that they have from a column with gaps; there, -1 means no label too.
    """
    distinct = {cell: None if folded(cell) in EMPTY else _unlisted(cell) for cell in set(cells)}
    given = [label for label in distinct.values() if label]
    if given and all(re.fullmatch(r"-?\d+(\.0+)?", label) for label in given):
        distinct = {cell: label and WHOLE.sub(r"\1", label) for cell, label in distinct.items()}
        distinct = {cell: None if label == "-1" else label for cell, label in distinct.items()}
    return [distinct[cell] for cell in cells]


def _unlisted(cell: str) -> str | None:
    """Return `a|b` for the list "['a', 'b']"; None for an empty one."""
    if not (listed := LIST.fullmatch(cell)):
        return cell
    return "|".join(filter(None, (part.strip(" '\"") for part in listed[1].split(",")))) or None


def spellings(counts: Mapping[str, int]) -> dict[str, str]:
    """Return the most frequent spelling of every label; case and spaces make no class."""
    alike = defaultdict[str, list[str]](list)
    for label in sorted(counts):
        alike[folded(label)].append(label)
    shown = {same: max(labels, key=counts.__getitem__) for same, labels in alike.items()}
    return {label: shown[folded(label)] for label in counts}


def remarks(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield what to tell of classes that may be one, or none."""
    alike = defaultdict[str, list[str]](list)
    for label in sorted(counts):
        alike[re.sub(r"[\W_]", "", folded(label)) or label].append(label)
    for labels in alike.values():
        if len(labels) > 1:
            yield (
                f"the classes {' and '.join(map(repr, labels))} differ in signs only; if they are "
                "one, merge them with data.params.classes"
            )
    for label, count in counts.items():
        if is_placeholder(label):
            yield (
                f"{label!r} is read as a class, of {count} images; if it means no label, leave it "
                "out with data.params.exclude_classes"
            )


def find(label: str, among: Sequence[str], where: str) -> str:
    """Return the label as `among` spells it; UserError if it is none of them."""
    alike = {folded(one): one for one in among} | {one: one for one in among}
    found = alike.get(label) or alike.get(folded(label))
    if found is None:
        raise UserError(unknown(where, label, among))
    return found


def mapping(
    wanted: Mapping[str, Sequence[str] | str], classes: Sequence[str], where: str
) -> dict[str, str]:
    """Return the new class of each class that a user's map names; others are left out."""
    found = dict[str, str]()
    for new, given in wanted.items():
        for label in [given] if isinstance(given, str) else given:
            old = find(label, classes, f"{where}.{new}")
            if found.setdefault(old, new) != new:
                raise UserError(
                    f"{where}.{new}={old}: must be in one class, and is in {found[old]} too; "
                    "try naming it once"
                )
    return found


def several(classes: Sequence[str]) -> tuple[str, list[str]]:
    """Return the separator and the classes that are several labels in one cell; "" if none is."""
    for separator in SEPARATORS:
        joined = [label for label in classes if len(_parts(label, separator)) > 1]
        if separator != "|":  # rarely a part of a name, unlike the others
            single = {folded(label) for label in classes}
            joined = [
                label for label in joined
                if all(folded(part) in single for part in _parts(label, separator))
            ]  # fmt: skip
        if joined:
            return separator, joined
    return "", []


def _parts(label: str, separator: str) -> list[str]:
    return [part for part in label.split(separator) if part.strip()]
