"""Copies of one image file in several folders: equal bytes are one image.

items = once(items, notes)      # UserError if copies are in two parts of a given split
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainables.data import Item
from trainables.data._files import some
from trainables.data._understood import Notes
from trainables.errors import UserError

HEAD = 4096  # bytes that tell most files of one size apart
BLANK = 1024  # bytes; smaller files are blank or damaged, and equal ones no copies


def once(items: Sequence[Item], notes: Notes, published: bool = False) -> list[Item]:
    """Return each image once, by its first name; images in two classes are left out.

    published: copies in two parts of a given split stay, as a published protocol has them.
    """
    again, conflicts, crossing = set[str](), list[Sequence[Item]](), list[Sequence[Item]]()
    for copies in _alike(items):
        labels = {item.label for item in copies} - {None}
        first = next((item for item in copies if item.label), copies[0])
        if len(labels) > 1:
            conflicts.append(copies)
        elif len({item.part for item in copies if item.part}) > 1:
            crossing.append(copies)
            if published:
                continue
        again |= {item.name for item in copies if item is not first or len(labels) > 1}
    _check(conflicts, [] if published else crossing, len(items))
    if crossing:
        notes.say(
            f"{len(crossing)} images have copies in two parts of the split, as published: "
            f"{some(_pairs(crossing))}"
        )
    notes.leave("images with copies in different classes", _pairs(conflicts))
    in_conflict = {item.name for copies in conflicts for item in copies}
    notes.leave("copies of other images (equal bytes)", sorted(again - in_conflict))
    return [item for item in items if item.name not in again]


def _check(conflicts: list[Sequence[Item]], crossing: list[Sequence[Item]], total: int) -> None:
    if sum(map(len, conflicts)) * 2 > total:
        raise UserError(
            f"{conflicts[0][0].source}: must be in one class, as {len(conflicts)} images are in "
            f"several ({some(_pairs(conflicts))}); try one folder an image, or data=table with "
            "data.params.labels=many"
        )
    if crossing:
        raise UserError(
            f"{crossing[0][0].source}: must be in one part of the split, as {len(crossing)} images "
            f"lie in two ({some(_pairs(crossing))}); try taking them out of one, or "
            "data.params.protocol=published, which allows it and says everywhere that it leaks"
        )


def _pairs(found: list[Sequence[Item]]) -> list[str]:
    return [" = ".join(item.name for item in copies) for copies in found]


def _alike(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield the items of equal bytes, sorted by name: of one size, then head, then all bytes."""
    sizes = defaultdict[int, list[Item]](list)
    for item in items:
        sizes[Path(item.source).stat().st_size].append(item)
    for size, same in sizes.items():
        for near in _by(same, HEAD) if len(same) > 1 and size > BLANK else ():
            for copies in _by(near, -1):
                yield sorted(copies, key=lambda item: item.name)


def _by(items: Sequence[Item], length: int) -> Iterator[Sequence[Item]]:
    """Yield items that have in common the first `length` bytes, -1: all."""
    found = defaultdict[bytes, list[Item]](list)
    for item in items:
        with open(item.source, "rb") as file:
            start = file.read(length)
        if not start.lstrip().startswith(b"<"):  # pages in place of images are all alike
            found[hashlib.sha256(start).digest()].append(item)
    return (same for same in found.values() if len(same) > 1)
