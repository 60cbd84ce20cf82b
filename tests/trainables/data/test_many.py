"""Several labels an image: what cells and columns say, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.conftest import save
from trainables.data import _many
from trainables.data.medmnist import Plugin as Medmnist
from trainables.data.table import Plugin
from trainables.errors import UserError
from trainables.images.cache import Source, open_cache

COLUMNS = ["Edema", "Effusion"]
ROWS = ("1,0", "0,1", "1,1", "0,0", ",1", "1,-1", "-1,0", "1.0,")
VALUES = {  # of Edema and Effusion, by policy
    "ones": [(1, 0), (0, 1), (1, 1), (0, 0), (0, 1), (1, 1), (1, 0), (1, 0)],
    "zeros": [(1, 0), (0, 1), (1, 1), (0, 0), (0, 1), (1, 0), (0, 0), (1, 0)],
    "ignore": [(1, 0), (0, 1), (1, 1), (0, 0), (0, 1), (1, -1), (-1, 0), (1, 0)],
}


def write(root: Path, header: str, rows: list[str] | tuple[str, ...]) -> Path:
    """A table with these cells after the image's name, and an image for every name."""
    lines = [f"image,{header}"]
    for i, row in enumerate(rows):
        name, _, cells = row.rpartition(":")
        lines.append(f"{name or f'i{i:02}'},{cells}")
        save(root / "images" / f"{name or f'i{i:02}'}.png", i)
    (root / "labels.csv").write_text("\n".join(lines))
    return root


def read(root: Path, **params: object) -> Plugin:
    return Plugin(root, {"labels": "many", "group_column": None, **params})


def error(root: Path, **params: object) -> str:
    with pytest.raises(UserError) as caught:
        read(root, **params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("policy", VALUES)
def test_columns_and_what_uncertain_says(tmp_path: Path, policy: str) -> None:
    root = write(tmp_path, ",".join(COLUMNS), ROWS)
    found = read(root, label_columns=COLUMNS, uncertain=policy)
    table = found.table()
    assert table.many
    assert table.classes == tuple(COLUMNS)
    assert table.labels.tolist() == [list(row) for row in VALUES[policy]]
    counts = {name: one.images for name, one in found.understood().classes.items()}
    edema, effusion = ((table.labels == 1).sum(0)).tolist()
    assert counts == {"Edema": edema, "Effusion": effusion}


def test_what_is_not_certain_needs_a_policy(tmp_path: Path) -> None:
    said = error(write(tmp_path, ",".join(COLUMNS), ROWS), label_columns=COLUMNS)
    assert "labels.csv, row 7 (i05): must have 1, 0 or nothing, and 2 cells are -1" in said
    assert "try data.params.uncertain=ignore, or ones, or zeros" in said


def test_blank_rows_have_no_label_only_where_other_rows_are_whole(tmp_path: Path) -> None:
    whole = read(write(tmp_path / "a", "A,B", ["1,0", "0,1", ","]), label_columns=["A", "B"])
    assert whole.table().labels.tolist() == [[1, 0], [0, 1]]
    assert [item.name for item in whole.unlabelled] == ["i02"]
    sparse = read(write(tmp_path / "b", "A,B", ["1,", ",1", ","]), label_columns=["A", "B"])
    assert sparse.table().labels.tolist() == [[1, 0], [0, 1], [0, 0]], "not mentioned"
    assert sparse.unlabelled == []


@pytest.mark.parametrize("separator", "|;,")
def test_cells(tmp_path: Path, separator: str) -> None:
    cells = ["Edema", "Effusion", f"Edema{separator} effusion", "No Finding", "", "nan", "EDEMA "]
    root = write(tmp_path, "label", [f'"{cell}"' for cell in cells])
    found = read(root)
    table = found.table()
    assert table.classes == ("Edema", "Effusion")
    assert table.labels.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]]
    assert len(found.unlabelled) == 2
    assert "1 images have several labels, 1 have none" in found.understood().notes


def test_rows_of_one_image_have_their_labels_together(tmp_path: Path) -> None:
    rows = ["x:Edema", "y:Effusion", "x:Effusion", "z:No Finding", "x:Edema"]
    table = read(write(tmp_path, "label", rows)).table()
    assert table.names == ("x", "y", "z")
    assert table.labels.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_columns_that_contradict_each_other_are_left_out(tmp_path: Path) -> None:
    rows = ["x:1,0", "y:0,1", "x:0,0", "z:0,0", "w:1,1"]
    found = read(write(tmp_path, "A,B", rows), label_columns=["A", "B"])
    assert found.table().names == ("w", "y", "z")
    assert next(one.what for one in found.understood().left_out) == (
        "images with rows of different classes"
    )


def test_labels_are_merged_renamed_and_dropped(tmp_path: Path) -> None:
    root = write(tmp_path, "A,B,C", ["1,0,0", "0,-1,1", "0,0,0", "1,-1,0", "0,0,1"])
    names = {"label_columns": ["A", "B", "C"], "uncertain": "ignore"}
    table = read(root, **names, classes={"AB": ["A", "B"], "rest": "C"}).table()
    assert table.classes == ("AB", "rest")
    assert table.labels.tolist() == [[1, 0], [-1, 1], [0, 0], [1, 0], [0, 1]]
    left = read(root, **names, exclude_classes=["B"]).table()
    assert left.classes == ("A", "C")
    assert len(left.names) == 5, "an image may still have other labels"


def test_a_label_that_tells_nothing_is_left_out_and_said(tmp_path: Path) -> None:
    root = write(tmp_path, "A,B,C", ["1,0,1", "0,0,1", "1,0,1"])
    found = read(root, label_columns=["A", "B", "C"])
    assert found.table().classes == ("A",)
    (left,) = found.understood().left_out
    assert (left.what, left.examples) == ("labels that all images have, or none", ("B", "C"))
    assert "must have a label that some of the 3 images" in error(root, label_columns=["B", "C"])


def test_refusals(tmp_path: Path) -> None:
    root = write(tmp_path / "a", "A,B,label", ["1,0.5,x", "0,1,y"])
    assert "must have 1, 0, -1 (uncertain) or nothing in column B, not 0.5" in error(
        root, label_columns=["A", "B"]
    )
    assert "data.params.uncertain=ones: must be null unless" in error(root, uncertain="ones")
    odd = write(tmp_path / "b", "A|B,C", ["1,0", "0,1"])
    assert "label A|B: must have no '|'" in error(odd, label_columns=["A|B", "C"])
    with pytest.raises(UserError, match=r"uncertain=ones: must be null unless"):
        Plugin(root, {"uncertain": "ones"}).table()


def test_columns_of_several_labels_are_guessed(tmp_path: Path) -> None:
    root = write(tmp_path, "Age,No Finding,A,B", ["50,,1,1", "60,1,,", "70,,-1,1", "50,,1,"])
    with pytest.raises(UserError) as caught:
        Plugin(root, {"group_column": None}).table()
    for part in ("label_columns=[No Finding,A,B]", "labels=many", "uncertain=ignore"):
        assert f"data.params.{part}" in str(caught.value)


def test_one_label_says_what_to_do_with_several(tmp_path: Path) -> None:
    root = write(tmp_path, "A,B", ["1,1", "0,1", "1,1", "1,0"])
    with pytest.raises(UserError, match=r"try data\.params\.labels=many"):
        Plugin(root, {"label_columns": ["A", "B"], "group_column": None}).table()


def test_the_cache_keeps_them_and_every_policy_has_its_own(tmp_path: Path, spec) -> None:
    rows = [f"{i % 2},{-1 if i == 5 else i // 2 % 2}" for i in range(24)]
    root = write(tmp_path / "data", "A,B", rows)
    given = {"labels": "many", "label_columns": ["A", "B"], "group_column": None}
    paths = set()
    for policy in ("ones", "zeros", "ignore"):
        source = Source(spec("table", params={**given, "uncertain": policy}), root)
        path = source.prepare(tmp_path / "cache")
        data = open_cache(path)
        paths.add(path.name)
        assert np.array_equal(data.labels, source.table.labels)
        assert data.many
        assert all(_many.varying(data.labels[index]).all() for index in data.split.values())
    assert len(paths) == 3
    (root / "labels.csv").write_text(
        (root / "labels.csv").read_text().replace("i00,0,0", "i00,1,0")
    )
    changed = Source(spec("table", params={**given, "uncertain": "ones"}), root)
    assert changed.digest(tmp_path / "cache") not in " ".join(paths)


def test_a_medmnist_file_of_several_labels(tmp_path: Path) -> None:
    rng, arrays = np.random.default_rng(0), {}
    for part, count in {"train": 24, "val": 8, "test": 8}.items():
        arrays[f"{part}_images"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f"{part}_labels"] = np.stack([np.arange(count) % 2, np.arange(count) // 2 % 2], 1)
    np.savez(tmp_path / "chest.npz", **arrays)
    table = Medmnist(tmp_path, {"labels": "many"}).table()
    truth = np.concatenate([arrays[f"{part}_labels"] for part in ("test", "train", "val")])
    assert np.array_equal(table.labels, truth)
    with pytest.raises(UserError, match=r"has 2 \(as ChestMNIST\); try data\.params\.labels=many"):
        Medmnist(tmp_path, {}).table()
