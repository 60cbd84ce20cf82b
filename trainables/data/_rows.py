"""Rows of a CSV file and the files they mean: one item an image.

rows = Rows(names, labels, patients, parts, sites)
items = placed(rows, Files(walk(folder)), table, only, pattern(None, []), notes)
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from trainables.data import Item
from trainables.data._csv import Csv
from trainables.data._files import SUFFIXES, some
from trainables.data._labels import folded, is_placeholder
from trainables.data._many import union
from trainables.data._match import Files, Match, key, plain, same_bytes
from trainables.data._understood import Notes
from trainables.errors import UserError

ELSEWHERE = re.compile(r"/|~|[A-Za-z]:/|\.\./")  # a path from another machine or folder
Only = Literal["rows", "files"] | None


@dataclass(frozen=True)
class Rows:
    """The cells of every row. labels: None where there is none; the others "" where unknown.

    united: an image has the labels of all its rows together. left_out: why a row is not used.
    """

    names: Sequence[str]
    labels: Sequence[str | None]
    groups: Sequence[str]
    parts: Sequence[str]
    sites: Sequence[str]
    united: bool = False
    left_out: Mapping[int, str] = field(default_factory=dict)

    def item(self, row: int, name: str, path: Path) -> Item:
        known = self.labels[row], self.groups[row]
        return Item(name, *known, path, self.sites[row], self.parts[row])


def placed(
    rows: Rows, files: Files, table: Csv, only: Only, group: Callable[[str], str], notes: Notes
) -> list[Item]:
    """Return the images of all rows, and of the files without a row, which have no label.

    only: leave out files without a row ("rows"), or any number of rows without a file ("files").
    group: returns the patient group that a file's path tells, "" if it tells none.
    UserError if most rows find no file, or a row may mean several.
    """
    matched, absent = _matched(rows, files, table)
    _check_absent(absent, len(rows.names) - len(rows.left_out), files, table, only)
    by_file = _used(rows, matched, notes)
    notes.leave(f"rows of {table.path.name} without a file", absent)
    _check_parts(rows, by_file, table)
    items, conflicts, again, moved = list[Item](), list[str](), list[str](), list[str]()
    for at, mine in by_file.items():
        chosen = [row for row in mine if rows.labels[row] is not None] or mine
        labels = {folded(rows.labels[row] or "") for row in chosen}
        if len(labels) > 1 and not rows.united:
            conflicts.append(f"{rows.names[mine[0]]} ({_labels(rows, mine)})")
            continue
        item = rows.item(_first(rows, chosen), _name(rows, chosen[0], files, at), files.path(at))
        if len(labels) > 1:
            item = replace(item, label=union(rows.labels[row] for row in chosen))
        else:
            again += [rows.names[row] for row in mine[1:]]
        patients = {rows.groups[row] for row in mine if not is_placeholder(rows.groups[row])}
        if len(patients) > 1:
            moved.append(f"{rows.names[mine[0]]} ({', '.join(sorted(patients))})")
        found = group(files.name(at)) or item.group
        items.append(item if found == item.group else replace(item, group=found))
    _check_conflicts(conflicts, len(by_file), table)
    notes.leave("images with rows of different classes", conflicts)
    notes.leave("further rows of an image", again)
    if moved:
        notes.say(
            f"{len(moved)} images have rows of different patient groups, of which the first "
            f"counts: {some(moved)}"
        )
    bare, copies = _bare(files, matched)
    notes.leave("copies of images with a row (equal bytes)", [files.paths[at] for at in copies])
    if only == "rows":
        notes.leave("files without a row (data.params.only=rows)", [files.paths[at] for at in bare])
        return items
    names = [files.name(at) for at in bare]
    return items + [
        Item(name, None, group(name), files.path(at)) for name, at in zip(names, bare, strict=True)
    ]


def _matched(rows: Rows, files: Files, table: Csv) -> tuple[dict[int, list[int]], list[str]]:
    """Return the rows of every file, and the names of the rows without one."""
    matches = [files.find(name) if name else Match() for name in rows.names]
    unclear = [row for row, match in enumerate(matches) if len(match.files) > 1]
    if unclear:
        first = unclear[0]
        among = [files.paths[at] for at in matches[first].files]
        raise UserError(
            f"{table.where(first)}: must say which file {rows.names[first]} is ({some(among)}), as "
            f"{len(unclear)} rows don't; try the path with its ending, or keeping one of them"
        )
    surest = dict[int, int]()
    for match in matches:
        for at in match.files:
            surest[at] = max(surest.get(at, 0), match.parts)
    found, absent = defaultdict[int, list[int]](list), list[str]()
    for row, match in enumerate(matches):
        # train/1.png must not take the file of test/1.png
        if match.files and (match.whole or match.parts == surest[match.files[0]]):
            found[match.files[0]].append(row)
        elif row not in rows.left_out:
            absent.append(rows.names[row] or table.where(row))
    return dict(found), absent


def _used(rows: Rows, matched: Mapping[int, list[int]], notes: Notes) -> dict[int, list[int]]:
    """Return the rows of every file without those that are left out."""
    used, left = dict[int, list[int]](), defaultdict[str, list[str]](list)
    for at, mine in matched.items():
        if kept := [row for row in mine if row not in rows.left_out]:
            used[at] = kept
        else:
            left[rows.left_out[mine[0]]].append(rows.names[mine[0]])
    for why, names in left.items():
        notes.leave(why, names)
    return used


def _check_absent(absent: list[str], total: int, files: Files, table: Csv, only: Only) -> None:
    if len(absent) * 2 <= total or (only == "files" and len(absent) < total):
        return
    there = f"{some(files.paths) or 'none'}; other files: {files.found.beside}"
    raise UserError(
        f"{files.folder}: must hold the {total} images of {table.path.name} "
        f"({', '.join(sorted(SUFFIXES))}), and {len(absent)} are not there ({some(absent)}; files: "
        f"{there}); try another data.params.image_column or "
        "data.params.images, or data.params.only=files, which leaves these rows out"
    )


def _check_parts(rows: Rows, by_file: Mapping[int, list[int]], table: Csv) -> None:
    """Raise UserError if rows of one image are in two parts of a given split."""
    twice = [
        rows.names[mine[0]] for mine in by_file.values()
        if len(mine) > 1 and len({rows.parts[row] for row in mine} - {""}) > 1
    ]  # fmt: skip
    if twice:
        raise UserError(
            f"{table.path}: must have every image in one part of the split, and {len(twice)} "
            f"images have rows in two ({some(twice)}); try taking them out of one"
        )


def _check_conflicts(conflicts: list[str], total: int, table: Csv) -> None:
    if len(conflicts) * 2 > total:
        raise UserError(
            f"{table.path}: must have one class an image, and {len(conflicts)} of {total} images "
            f"have rows of different classes ({some(conflicts)}); try data.params.labels=many, or "
            "data.params.classes"
        )


def _first(rows: Rows, among: list[int]) -> int:
    """Return the row that names a patient, if one does; else the first."""
    return next((row for row in among if not is_placeholder(rows.groups[row])), among[0])


def _labels(rows: Rows, among: list[int]) -> str:
    return ", ".join(dict.fromkeys(str(rows.labels[row]) for row in among))


def _name(rows: Rows, row: int, files: Files, at: int) -> str:
    """Return what the row calls its image, independent of where the images lie."""
    name = plain(rows.names[row])
    return files.name(at) if ELSEWHERE.match(name) else name


def _bare(files: Files, by_file: Mapping[int, list[int]]) -> tuple[list[int], list[int]]:
    """Return the files without a row: others, and copies of a file of that name with a row."""
    bare = [at for at in range(len(files.paths)) if at not in by_file]
    names = {_last(files, at) for at in bare}
    alike = defaultdict[tuple[str, int], list[Path]](list)
    for at in by_file:
        if (name := _last(files, at)) in names:
            alike[name, files.path(at).stat().st_size].append(files.path(at))
    copies = list[int]()
    for at in bare if alike else ():
        path = files.path(at)
        near = alike.get((_last(files, at), path.stat().st_size), [])
        copies += [at] if any(same_bytes([path, other]) for other in near) else []
    return sorted(set(bare) - set(copies)), copies


def _last(files: Files, at: int) -> str:
    return key(files.name(at).rpartition("/")[2])
