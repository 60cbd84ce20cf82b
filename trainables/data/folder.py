"""Any labelled images, one sub-folder per class: ROOT/<class>/**/<image>.{jpg,png,tif,...}

Folders train, val and test around the classes, or within them, are the split. A folder of masks is
left out, and so is a folder without images. Every image is its own patient group unless
`groups_csv` names a CSV file (relative to ROOT) with each image's patient or lesion (`image_column`
holds the path under ROOT, the file name or its stem), or `group_pattern` finds it in the path.
`source_column`, if given, is the column of that file with the image's hospital or camera.
"""

from dataclasses import dataclass
from pathlib import Path

from trainables.data import Dataset, Item, _groups
from trainables.data._copies import once
from trainables.data._csv import read_csv
from trainables.data._files import SUFFIXES, existing, some
from trainables.data._layout import Wanted, check, nested
from trainables.data._match import Files
from trainables.data._tree import Leaf, Tree
from trainables.data._walk import walk
from trainables.errors import UserError
from trainables.schema import Place, Text


class Plugin(Dataset):
    @dataclass(frozen=True)
    class Params(Dataset.Params):
        groups_csv: Place | None = None
        image_column: Text = "image"
        group_column: Text = "group"
        source_column: Text | None = None
        group_pattern: Text | None = None

    params: Params

    def scan(self) -> tuple[list[Item], tuple[str, ...]]:
        root = existing(self.root, "sub-folders, one a class" if self.labelled else "images")
        files = Files(walk(root))
        tree = Tree.of(files.paths) if self.labelled else Tree([Leaf(None)] * len(files.paths))
        self._check(root, tree, files)
        group = _groups.pattern(self.params.group_pattern, files.paths if self.labelled else ())
        names = [files.name(at) for at in range(len(files.paths))]
        groups, sites = self._columns(root, files, names)
        items = [
            Item(name, leaf.label, group(name) or groups[at], files.path(at), sites[at], leaf.part)
            for at, (name, leaf) in enumerate(zip(names, tree.leaves, strict=True))
            if files.paths[at] not in tree.outside
        ]
        tree.note(self.notes)
        self.notes.beside(files.found)
        return once(items, self.notes, self.params.protocol is not None), tree.classes

    def _check(self, root: Path, tree: Tree, files: Files) -> None:
        if not self.labelled and not files.paths:
            raise UserError(
                f"--data={root}: must hold images ({', '.join(sorted(SUFFIXES))}), and holds none "
                f"(other files: {files.found.beside}); try another folder"
            )
        if len(tree.classes) >= 2 or not self.labelled:
            return
        one = [tree.above.rpartition("/")[2]] if tree.above and not tree.classes else []
        classes = tree.classes or tuple(one)
        cure = "the folder above or below"
        if not files.paths and files.found.others:
            cure = "converting them to PNG"
        elif files.paths and not classes:
            cure = "a folder for each class, or data=table with a CSV file"
        raise UserError(
            f"--data={root}: must have at least 2 sub-folders of images "
            f"({', '.join(sorted(SUFFIXES))}), one a class, not {len(classes)} "
            f"({some(classes) or 'none'}; images in all: {len(files.paths)}; other files: "
            f"{files.found.beside}); try {cure}"
        )

    def _columns(self, root: Path, files: Files, names: list[str]) -> tuple[list[str], list[str]]:
        """Return each image's patient group and source as `groups_csv` has them, "" without."""
        p, nothing = self.params, [""] * len(names)
        if p.groups_csv is None:
            if p.source_column:
                raise UserError(
                    f"data.params.source_column={p.source_column}: must be a column of the file "
                    "data.params.groups_csv, which is null; try naming it too"
                )
            return nothing, nothing
        table = read_csv(nested(root, p.groups_csv))
        used = {"image": p.image_column, "group": p.group_column}
        used |= {"source": p.source_column} if p.source_column else {}
        check(root, table, files, [Wanted(f"{role}_column", [at]) for role, at in used.items()])
        self.notes.read(table, **used)
        groups, *sites = (
            _groups.column(table, p.image_column, used[role], names)
            for role in ("group", "source") if role in used
        )  # fmt: skip
        return groups, sites[0] if sites else nothing
