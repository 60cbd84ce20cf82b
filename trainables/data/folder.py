"""Any labelled images, one sub-folder per class: ROOT/<class>/**/<image>.{jpg,png,tif,...}

Folders train, val and test around the classes, or within them, are the split. A folder of masks is
left out, and so is a folder without images. Every image is its own patient group unless
`groups_csv` names a CSV file (relative to ROOT) with each image's patient or lesion (`image_column`
holds the path under ROOT, the file name or its stem), or `group_pattern` finds it in the path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.data import Dataset, Item, _groups
from trainables.data._copies import once
from trainables.data._csv import read_csv
from trainables.data._files import SUFFIXES, existing, some
from trainables.data._layout import Wanted, check
from trainables.data._match import Files
from trainables.data._tree import Tree
from trainables.data._walk import walk
from trainables.errors import UserError
from trainables.schema import Place, Text


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        groups_csv: Place | None = None
        image_column: Text = "image"
        group_column: Text = "group"
        group_pattern: Text | None = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        root = existing(self.root, "sub-folders, one a class")
        files = Files(walk(root))
        tree = Tree.of(files.paths)
        self._check(root, tree, files)
        group = _groups.pattern(self.params.group_pattern, files.paths)
        names = [files.name(at) for at in range(len(files.paths))]
        groups = self._groups(root, files, names)
        items = [
            Item(name, leaf.label, group(name) or groups[at], files.path(at), part=leaf.part)
            for at, (name, leaf) in enumerate(zip(names, tree.leaves, strict=True))
            if files.paths[at] not in tree.outside
        ]
        tree.note(self.notes)
        self.notes.beside(files.found)
        return once(items, self.notes), tuple(sorted({leaf.label for leaf in tree.leaves if leaf.label}))

    def _check(self, root: Path, tree: Tree, files: Files) -> None:
        classes = sorted({leaf.label for leaf in tree.leaves if leaf.label})
        if len(classes) < 2:
            raise UserError(
                f"--data={root}: must have at least 2 sub-folders of images "
                f"({', '.join(sorted(SUFFIXES))}), one a class, not {len(classes)} "
                f"({some(classes) or 'none'}; other files: {_counts(files.found.others)}); try the "
                "folder above or below"
            )

    def _groups(self, root: Path, files: Files, names: list[str]) -> list[str]:
        p = self.params
        if p.groups_csv is None:
            return [""] * len(names)
        table = read_csv(root / p.groups_csv)
        image, group = p.image_column, p.group_column
        wanted = [Wanted("image_column", [image]), Wanted("group_column", [group])]
        check(root, table, files, wanted)
        self.notes.read(table, image=image, group=group)
        return _groups.column(table, image, group, names)


def _counts(others: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {ending}" for ending, count in others.items()) or "none"
