"""Any labelled images, one sub-folder per class: ROOT/<class>/**/<image>.{jpg,png,tif,...}

Every image is its own patient group unless `groups_csv` names a CSV file (relative to ROOT) with
each image's patient or lesion: `image_column` holds the path under ROOT, the file name or its stem.
`source_column`, if given, is the column of that file with the image's hospital or camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.data import Dataset, Item
from trainables.data._files import SUFFIXES, existing, find_images, read_csv, some, subfolders
from trainables.errors import UserError
from trainables.schema import Place, Text


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        groups_csv: Place | None = None
        image_column: Text = "image"
        group_column: Text = "group"
        source_column: Text | None = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        root = existing(self.root, "sub-folders, one a class")
        folders = [p for p in subfolders(root) if not p.name.startswith((".", "__MACOSX"))]
        if len(folders) < 2:
            raise UserError(
                f"--data={root}: must have at least 2 sub-folders, one a class, not {len(folders)} "
                f"({some([f.name for f in folders]) or 'none'}); try the folder above or below"
            )
        images = [(folder.name, path) for folder in folders for path in _images(folder)]
        names = [path.relative_to(root).as_posix() for _, path in images]
        groups = self._column(root, names, self.params.group_column)
        sites = self._sites(root, names)
        items = [
            Item(name, label, groups.get(name) or name, path, sites.get(name, ""))
            for name, (label, path) in zip(names, images, strict=True)
        ]
        return items, tuple(folder.name for folder in folders)

    def _sites(self, root: Path, names: list[str]) -> Mapping[str, str]:
        column = self.params.source_column
        if column is None:
            return {}
        if self.params.groups_csv is None:
            raise UserError(
                f"data.params.source_column={column}: must be a column of the file "
                "data.params.groups_csv, which is null; try naming it too"
            )
        return self._column(root, names, column)

    def _column(self, root: Path, names: list[str], column: str) -> Mapping[str, str]:
        """Return a column of `groups_csv` by image; {} if there is no such file."""
        if self.params.groups_csv is None:
            return {}
        path, image = root / self.params.groups_csv, self.params.image_column
        given = {row[image]: row[column] for row in read_csv(path, (image, column))}
        found = {name: _given(name, given) for name in names}
        missing = [name for name, value in found.items() if value is None]
        if missing:
            raise UserError(
                f"{path}: must have a row for every image, and has none for {len(missing)} "
                f"({some(missing)}); try paths under the data folder, file names or their stems in "
                f"column {image}"
            )
        return {name: value for name, value in found.items() if value}


def _given(name: str, given: Mapping[str, str]) -> str | None:
    """Return the image's cell in the CSV, "" if it is empty, None if no row matches."""
    path = Path(name)
    for key in (name, path.name, path.stem):
        if key in given:
            return given[key]
    return None


def _images(folder: Path) -> list[Path]:
    images = list(find_images(folder))
    if not images:
        raise UserError(
            f"{folder}: must hold images ({', '.join(sorted(SUFFIXES))}), as every sub-folder is a "
            "class; try adding images or taking the folder away"
        )
    return images
