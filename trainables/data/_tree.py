"""Classes and parts of a split from folders' names.

tree = Tree.of(["train/NORMAL/1.jpg", "test/NORMAL/2.jpg", ...])
tree.leaves[0]      # Leaf("NORMAL", "train")
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trainables.data._parts import folders as parts_of
from trainables.data._understood import Notes


@dataclass(frozen=True)
class Leaf:
    """The class of one image, None beside the class folders; part: of a split, or ""."""

    label: str | None
    part: str = ""


@dataclass(frozen=True)
class Tree:
    """The leaves of all paths. above: the one folder around the classes or parts, or ""."""

    leaves: Sequence[Leaf]
    above: str = ""
    outside: Collection[str] = ()  # paths beside the folders of the split

    @classmethod
    def of(cls, paths: Sequence[str]) -> "Tree":
        folders = [path.split("/")[:-1] for path in paths]
        depth = _shared(folders)
        below = [found[depth:] for found in folders]
        above = "/".join(folders[0][:depth]) if folders else ""
        tops = Counter(found[0] for found in below if found)
        if split := parts_of(tops):
            return cls(_around(below, split), above, _outside(paths, below, split))
        if inner := _within(below):
            return cls([Leaf(found[0], inner[found[1]]) for found in below], above)
        return cls([Leaf(found[0]) if found else Leaf(None) for found in below], above)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({leaf.label for leaf in self.leaves if leaf.label}))

    def note(self, notes: Notes) -> None:
        """Say how the folders were read."""
        parts = Counter(leaf.part for leaf in self.leaves if leaf.part)
        if parts:
            there = [name for name in ("train", "val", "test") if parts[name]]
            sizes = ", ".join(f"{parts[name]} {name}" for name in there)
            notes.say(f"the folders {', '.join(there)} are the split, not classes: {sizes}")
        if self.above:
            notes.say(f"the classes are the folders in {self.above}/")
        notes.leave("images beside the folders of the split", sorted(self.outside))


def _shared(folders: Sequence[list[str]]) -> int:
    """Return how many folders all paths have in common, before the first that tells them apart."""
    if not folders:
        return 0
    low, high = min(folders), max(folders)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b),
                min(len(low), len(high)))  # fmt: skip


def _around(below: Sequence[Sequence[str]], split: Mapping[str, str]) -> list[Leaf]:
    """Return the leaves; a folder that all parts have around their classes is none."""
    inner = [[*found[1:]] for found in below if found and found[0] in split]
    at = 1 + _shared([found for found in inner if found])
    if all(len(found) < at for found in inner):  # one class, which the caller refuses
        at = 1
    return [
        Leaf(found[at] if len(found) > at else None, split[found[0]])
        if found and found[0] in split
        else Leaf(None)
        for found in below
    ]


def _within(below: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the parts of a split if every class folder holds these, and nothing else."""
    if not below or any(len(found) < 2 for found in below):
        return {}
    inner = {found[1] for found in below}
    split = parts_of(inner)
    return split if inner == set(split) else {}


def _outside(
    paths: Sequence[str], below: Sequence[Sequence[str]], split: Mapping[str, str]
) -> set[str]:
    both = zip(paths, below, strict=True)
    return {path for path, found in both if not found or found[0] not in split}
