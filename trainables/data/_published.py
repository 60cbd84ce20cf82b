"""A data set as its makers distribute it: a folder of images beside CSV files of known columns.

    base = base_of(root, "train", {"train.csv": ("id", "boxes")})

UserError names all that is missing.
`root` may be the folder itself, the one above, or that of the images.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from trainables.data import _guess
from trainables.data._csv import read_csv
from trainables.data._files import existing, some
from trainables.data._match import Files
from trainables.data._tree import Tree
from trainables.data._walk import subfolders, walk
from trainables.errors import UserError

Columns = Mapping[str, Sequence[str]]  # file -> those that must be there


def base_of(root: Path | None, images: str, columns: Columns) -> Path:
    """Return the folder that holds the images' folder and the CSV files."""
    *first, last = [f"{images}/", *columns]
    holds = f"{', '.join(first)} and {last}"
    root = existing(root, holds).absolute()
    around = [root.parent] if root.name == images else []
    inside = subfolders(root)
    for wanted in ((images, next(iter(columns))), (images,)):
        for base in (root, *around, *inside):
            if all((base / name).exists() for name in wanted):
                _check(base, columns)
                return base
    raise UserError(
        f"--data={root}: must hold {holds}; try {_advice(root) or 'the folder that does'}"
    )


def _check(base: Path, needed: Columns) -> None:
    """Raise UserError that names every missing table and column."""
    problems = [f"no {name}" for name in needed if not (base / name).exists()]
    for name, columns in needed.items():
        table = read_csv(base / name) if (base / name).exists() else None
        absent = [column for column in columns if table and column not in table]
        if table and absent:
            names = ", ".join(map(repr, absent))
            problems.append(f"no column {names} in {name} (columns: {', '.join(table.named)})")
    if problems:
        raise UserError(
            f"--data={base}: must hold what the challenge distributes: {'; '.join(problems)}; try "
            "adding it, or data=table, which takes any names"
        )


def _advice(root: Path) -> str:
    """Suggest a plug-in for a table that names images, or a folder per class, else ""."""
    files = Files(walk(root))
    if table := _guess.naming(root, files):
        return f"data=table data.params.csv={table}, which names the images"
    classes = Tree.of(files.paths).classes
    if len(classes) < 2:
        return ""
    return f"data=folder, which reads {len(classes)} folders of images ({some(classes)})"
