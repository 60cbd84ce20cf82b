"""Where a data set with a CSV file has its table, its images and its columns.

table, files = lay_out(root, "labels.csv", "images", roles)    # UserError names all that is missing

roles: what each setting names, as Wanted("image_column", "image").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.data import _guess, _many
from trainables.data._csv import Csv, read_csv
from trainables.data._files import some
from trainables.data._match import Files
from trainables.data._walk import subfolders, walk
from trainables.errors import UserError


@dataclass(frozen=True)
class Wanted:
    """A setting and the columns that it names."""

    setting: str
    columns: Sequence[str]


def lay_out(
    root: Path, csv: str, images: str, wanted: Sequence[Wanted], table: Csv | None = None
) -> tuple[Csv, Files]:
    """Return the table and the files that its rows may mean.

    table: given if it is made of several files. UserError for a missing file, folder or column.
    """
    problems, settings = list[str](), dict[str, object]()
    folder = root / images
    if not folder.is_dir():
        problems.append(f"no folder {images}/ (folders: {_listed(root)})")
        settings["images"], folder = _images(root)
    files = Files(walk(folder))
    if table is None:
        path, found = _path(root, csv, files)
        if found is not None:
            there = some(_guess.tables(root)) or "none"
            problems.append(f"no {csv} (files: {there}{_guess.workbooks(root)})")
            settings |= {"csv": found} if found else {}
        table = read_csv(path) if path else None
    if table is not None:
        _check_rows(table)
        problems += _columns(table, files, wanted, settings)
    elif folders := _class_folders(root):
        raise UserError(
            f"--data={root}: must hold what the settings name: {'; '.join(problems)}; try "
            f"data=folder, which reads {len(folders)} folders of images ({some(folders)})"
        )
    if problems or table is None:
        raise _guess.missing(root, problems, settings)
    return table, files


def _check_rows(table: Csv) -> None:
    if not len(table):
        raise UserError(
            f"{table.path}: must have a row an image below its header, and has none; try another "
            "data.params.csv"
        )


def check(root: Path, table: Csv, files: Files, wanted: Sequence[Wanted]) -> None:
    """Raise the UserError of missing columns for a further table."""
    settings = dict[str, object]()
    if problems := _columns(table, files, wanted, settings):
        raise _guess.missing(root, problems, settings)


def _images(root: Path) -> tuple[str, Path]:
    """Return the one folder of images in `root`, else `root`."""
    holding = [path for path in subfolders(root) if walk(path).images]
    return (holding[0].name, holding[0]) if len(holding) == 1 else (".", root)


def _class_folders(root: Path) -> list[str]:
    folders = [path.name for path in subfolders(root) if walk(path).images]
    return folders if len(folders) > 1 else []


def nested(root: Path, csv: str) -> Path:
    """Return the table's path: under `root`, or in the one folder below that has it."""
    if (root / csv).exists():
        return root / csv  # listing all files of a large folder takes seconds
    near = [path for path in _guess.tables(root) if Path(path).name == Path(csv).name]
    return root / (near[0] if len(near) == 1 else csv)


def _path(root: Path, csv: str, files: Files) -> tuple[Path | None, str | None]:
    """Return the table's path; and if it is not the one named, the likeliest, "" if none is."""
    if (near := nested(root, csv)).exists():
        return near, None
    likeliest = _guess.table(root, files)
    return (root / likeliest if likeliest else None), likeliest


def _columns(
    table: Csv, files: Files, wanted: Sequence[Wanted], settings: dict[str, object]
) -> list[str]:
    """Return what is missing of the columns; add the likeliest settings."""
    absent = [(one, name) for one in wanted for name in one.columns if name not in table]
    if not absent:
        return []
    taken = {name for one in wanted for name in one.columns if name in table}
    for setting in dict.fromkeys(one.setting for one, _ in absent):
        value = _likeliest(setting, wanted, absent, table, files, taken)
        settings |= {"label_columns" if isinstance(value, list) else setting: value}
        settings |= _many.suggested(table, value) if isinstance(value, list) else {}
        taken |= {value} if isinstance(value, str) else set()
    names = ", ".join(repr(name) for _, name in absent)
    return [f"no column {names} in {table.path.name} (columns: {', '.join(table.named)})"]


def _likeliest(
    setting: str,
    wanted: Sequence[Wanted],
    absent: Sequence[tuple[Wanted, str]],
    table: Csv,
    files: Files,
    taken: set[str],
) -> object:
    name = next(name for one, name in absent if one.setting == setting)
    if setting == "image_column":
        return _guess.guess_images(table, files, name) or table.named[0]
    if setting == "group_column":
        return _guess.guess_patient(table, name, taken) or None
    if setting in ("label_column", "label_columns"):
        given = {name for one in wanted if one.setting == setting for name in one.columns}
        one_hot = _guess.guess_one_hot(table, taken - given)
        label = _guess.guess_label(table, name, taken)
        many = _guess.guess_many(table, taken)
        unlike = not one_hot or "uncertain" in _many.suggested(table, many)
        if len(many) > 1 and unlike and (not label or label in many):
            return many
        return one_hot if one_hot and not _guess.LABEL.search(label) else label or table.named[-1]
    return _guess.near(name, table.named) or table.named[-1]


def _listed(root: Path) -> str:
    return some([path.name for path in subfolders(root)]) or "none"
