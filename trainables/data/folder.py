"""Any labelled images, one sub-folder a class: ROOT/<class>/**/<image>.{jpg,png,tif,...}

Every image is its own group unless `groups_csv` names a CSV (relative to ROOT) that says which
patient or lesion it is of: `image_column` holds the path under ROOT, the file name or its stem.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from trainables.data import Dataset, Item
from trainables.data._files import SUFFIXES, find_images, read_csv, some
from trainables.errors import UserError


class Plugin(Dataset):
    defaults: ClassVar[dict[str, Any]] = {
        "groups_csv": None,
        "image_column": "image",
        "group_column": "group",
    }

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        root = self._root()
        folders = sorted(
            p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX"))
        )
        if len(folders) < 2:
            raise UserError(
                f"{root}: {len(folders)} sub-folders "
                f"({some([f.name for f in folders]) or 'none'}); there must be at least 2, one a "
                "class, with the images inside"
            )
        images = [(folder.name, path) for folder in folders for path in _images(folder)]
        names = [path.relative_to(root).as_posix() for _, path in images]
        groups = self._groups(root, names)
        items = [
            Item(name, label, groups.get(name, name), path)
            for name, (label, path) in zip(names, images, strict=True)
        ]
        return items, tuple(folder.name for folder in folders)

    def _root(self) -> Path:
        if self.root is None:
            raise UserError(
                "data folder: no folder given; pass the one whose sub-folders are classes"
            )
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; its sub-folders must be the classes")
        return self.root

    def _groups(self, root: Path, names: list[str]) -> Mapping[str, str]:
        if self.params["groups_csv"] is None:
            return {}
        path = root / self.params["groups_csv"]
        image, group = self.params["image_column"], self.params["group_column"]
        given = {row[image]: row[group] for row in read_csv(path, (image, group))}
        groups = {name: _given(name, given) for name in names}
        missing = [name for name, value in groups.items() if value is None]
        if missing:
            raise UserError(
                f"{path}: no row for {len(missing)} images ({some(missing)}); column {image!r} "
                "must hold every image's path under the data folder, its file name or its stem"
            )
        return {name: value for name, value in groups.items() if value}


def _given(name: str, given: Mapping[str, str]) -> str | None:
    """The group in the CSV, empty where the cell is; None if no row is of this image."""
    path = Path(name)
    for key in (name, path.name, path.stem):
        if key in given:
            return given[key]
    return None


def _images(folder: Path) -> list[Path]:
    images = list(find_images(folder))
    if not images:
        raise UserError(
            f"{folder}: no images in this class folder; known endings are "
            f"{', '.join(sorted(SUFFIXES))}; add images or take the folder away"
        )
    return images
