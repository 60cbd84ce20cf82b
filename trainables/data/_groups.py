"""The patient group of an image, from a file's path or from another CSV file.

read = pattern(r"patient(\\d+)", paths)
read("train/patient007/view1.jpg")     # "007"; the whole match if nothing is in brackets
column(table, "image", "lesion_id", names)
"""

import re
from collections.abc import Callable, Sequence

from trainables.data._csv import Csv
from trainables.data._files import some
from trainables.data._labels import is_placeholder
from trainables.data._match import key, plain
from trainables.errors import UserError


def pattern(given: str | None, paths: Sequence[str]) -> Callable[[str], str]:
    """Return what reads a patient group from a path, "" for a path that doesn't match.

    UserError for an invalid expression, or one that matches none of `paths`.
    """
    if given is None:
        return lambda _: ""
    try:
        compiled = re.compile(given)
    except re.error as error:
        raise UserError(
            f"data.params.group_pattern={given}: must be a regular expression ({error}); try "
            r"'patient(\d+)'"
        ) from None
    if paths and not any(map(compiled.search, paths)):
        raise UserError(
            f"data.params.group_pattern={given}: must match the images' paths, and matches none "
            f"({paths[0]}, ...); try one that matches, as 'patient(\\d+)'"
        )

    def group(path: str) -> str:
        found = compiled.search(path)
        return "/".join(filter(None, found.groups())) or found[0] if found else ""

    return group


def column(table: Csv, image: str, name: str, images: Sequence[str]) -> list[str]:
    """Return a column's cell for every image; UserError if an image has no row.

    image: the column that names images by path, file name or stem.
    """
    cells = dict[str, str]()
    for called, cell in zip(table[image], table[name], strict=True):
        at = key(plain(called))
        if at not in cells or is_placeholder(cells[at]):
            cells[at] = cell
    keys = [key(plain(path)) for path in images]
    found = [cells.get(at, cells.get(at.rpartition("/")[2])) for at in keys]
    if missing := [path for path, cell in zip(images, found, strict=True) if cell is None]:
        raise UserError(
            f"{table.path}: must have a row for every image, and has none for {len(missing)} "
            f"({some(missing)}): near copies would cross the split; try adding the rows (column "
            f"{name} may be empty), with paths, file names or their stems in column {image}"
        )
    return [cell or "" for cell in found]
