"""Layouts around those of shared/cases: read as people mean them, or refused with the cure."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainables.data.conftest import save
from tests.trainables.data.test_layouts import fill
from trainables.data import Dataset
from trainables.data._csv import read_csv
from trainables.data._labels import is_placeholder
from trainables.data._parts import part
from trainables.data.folder import Plugin as Folder
from trainables.data.isic2019 import Plugin as Isic
from trainables.data.table import Plugin as Table
from trainables.errors import UserError
from trainables.images.cache import Source, open_cache
from trainables.spec import DataSpec

Make = Callable[..., DataSpec]


def left_out(data: Dataset) -> dict[str, int]:
    return {one.what: one.count for one in data.understood().left_out}


def refused(data: Dataset) -> str:
    with pytest.raises(UserError) as caught:
        data.table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def listed(root: Path, cells: Sequence[str], rows: Sequence[str], encoding: str = "utf-8") -> Path:
    """Images of these names, and a table of these lines."""
    for i, cell in enumerate(cells):
        save(root / "images" / cell, i)
    (root / "labels.csv").write_bytes("".join(f"{row}\n" for row in rows).encode(encoding))
    return root


def simple(root: Path, label: Callable[[int], str], encoding: str = "utf-8") -> Path:
    """Twelve images with these labels, each of a patient of its own."""
    names = [f"x{i}.png" for i in range(12)]
    rows = [f"{name},{label(i)},P{i}" for i, name in enumerate(names)]
    return listed(root, names, ["image,label,group", *rows], encoding)


@pytest.mark.parametrize(
    "names",
    [
        ("train_set", "val_set", "test_set"),
        ("Training Data", "Validation Data", "Test Data"),
        ("stage_1_train", "stage_1_val", "stage_1_test"),
        ("TrainData", "ValidData", "TestData"),
        ("ISIC_Part3_Training_Data", "ISIC_Part3_Validation_Data", "ISIC_Part3_Test_Data"),
        ("trainset", "valset", "testset"),
        ("images_train", "images_val", "images_test"),
    ],
)
def test_folders_named_after_a_split_are_it(
    tmp_path: Path, spec: Make, names: tuple[str, ...]
) -> None:
    found = Source(spec("folder"), fill(tmp_path, *(f"{p}/{c}" for p in names for c in "ab")))
    assert found.table.classes == ("a", "b")
    assert [len(rows) for rows in found.split.values()] == [8, 8, 8]


@pytest.mark.parametrize(
    "names",
    [("test_positive", "test_negative"), ("trained", "untrained"), ("train_a", "test_b"),
     ("valve", "valley"), ("development", "regression")],
)  # fmt: skip
def test_classes_that_sound_like_a_split_are_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert Folder(fill(tmp_path, *names), {}).table().classes == tuple(sorted(names))


def test_a_folder_between_split_and_classes_is_neither(tmp_path: Path, spec: Make) -> None:
    parts = ("train", "val", "test")
    root = fill(tmp_path, *(f"{p}/images/{c}" for p in parts for c in "ab"))
    found = Source(spec("folder"), root)
    assert found.table.classes == ("a", "b")
    assert [len(rows) for rows in found.split.values()] == [8, 8, 8]


def test_cells_that_tell_a_part() -> None:
    assert [*map(part, ("Train set", "TEST ", "valid", "train", "trained", "fold 1"))] == [
        "train", "test", "val", "train", "", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "masks", ["labels", "annotations", "GroundTruth", "ground_truth", "gt", "lung_mask", "contours"]
)
@pytest.mark.parametrize("where", ["{c}/{kind}", "{kind}/{c}"])
def test_a_folder_beside_images_holds_masks(tmp_path: Path, masks: str, where: str) -> None:
    root = fill(tmp_path, *(where.format(c=c, kind=k) for c in "ab" for k in ("images", masks)))
    data = Folder(root, {})
    assert data.table().classes == ("a", "b")
    assert left_out(data) == {"masks": 8}


def test_without_a_folder_of_images_these_names_are_classes(tmp_path: Path) -> None:
    assert Folder(fill(tmp_path, "labels", "contours"), {}).table().classes == (
        "contours", "labels",
    )  # fmt: skip


@pytest.mark.parametrize("end", ["_GT", "_mask", "_seg", "_groundtruth", "-annotation", " label 2"])
def test_masks_are_known_by_their_ends(tmp_path: Path, end: str) -> None:
    root = fill(tmp_path, "a", "b")
    shutil.copy(root / "a" / "a0.png", root / "a" / f"a0{end}.png")
    data = Folder(root, {})
    assert len(data.table().names) == 8
    assert left_out(data) == {"masks": 1}


@pytest.mark.parametrize(
    "name", ["@eaDir/x.png/SYNO.jpg", "__MACOSX/a/._a0.png", "a/._a0.png", ".DS_Store/x.png",
             "$RECYCLE.BIN/x.png", "a/.ipynb_checkpoints/a0-checkpoint.png"],
)  # fmt: skip
def test_what_systems_leave_is_skipped(tmp_path: Path, name: str) -> None:
    root = fill(tmp_path, "a", "b")
    save(root / name, 99)
    data = Folder(root, {})
    assert len(data.table().names) == 8
    assert left_out(data) == {}


def test_links_to_files_that_are_not_there(tmp_path: Path) -> None:
    root = fill(tmp_path, "a", "b")
    for i in range(3):
        (root / "a" / f"gone{i}.png").symlink_to(root / "nowhere")
    data = Folder(root, {})
    assert len(data.table().names) == 8
    assert left_out(data) == {"links to files that are not there": 3}
    for i in range(9):
        (root / "b" / f"gone{i}.png").symlink_to(root / "nowhere")
    assert "12 are links to files that are not there (a/gone0.png" in refused(Folder(root, {}))


@pytest.mark.parametrize(
    ("names", "said", "cure"),
    [
        (["mel/x.png", "mel/y.png"], "not 1 (mel; images in all: 2", "the folder above or below"),
        (["x.png", "y.png"], "not 0 (none; images in all: 2", "or data=table with a CSV file"),
        (["a/x.gif", "b/y.gif"], "other files: 2 .gif", "converting them to PNG"),
    ],
)
def test_what_is_no_folder_a_class(tmp_path: Path, names: list[str], said: str, cure: str) -> None:
    for i, name in enumerate(names):
        save(tmp_path / name, i)
    message = refused(Folder(tmp_path, {}))
    assert said in message
    assert message.endswith(cure)


def test_copies_in_two_parts_of_a_published_split(tmp_path: Path) -> None:
    root = fill(tmp_path, *(f"{p}/{c}" for p in ("train", "test") for c in "ab"))
    shutil.copy(root / "train" / "a" / "train_a0.png", root / "test" / "a" / "x.png")
    assert "data.params.protocol=published" in refused(Folder(root, {}))
    data = Folder(root, {"protocol": "published"})
    assert len(data.table().names) == 17
    assert any("1 images have copies in two parts" in one for one in data.understood().notes)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", "Windows-1252 (guessed)"), ("utf-16", "UTF-16")]
)
def test_encodings(tmp_path: Path, encoding: str, shown: str) -> None:
    root = simple(tmp_path, lambda i: "Nävus – groß" if i % 2 else "mel", encoding)
    data = Table(root, {})
    assert data.table().classes == ("Nävus – groß", "mel")
    assert data.understood().tables[0].encoding == shown


@pytest.mark.parametrize("above", ["# exported by hand\n", "sep=,\n", "# one\n# two\n"])
def test_lines_above_the_header(tmp_path: Path, above: str) -> None:
    path = simple(tmp_path, lambda i: "ab"[i % 2]) / "labels.csv"
    path.write_text(above + path.read_text())
    table = read_csv(path)
    assert table.header == ("image", "label", "group")
    assert table.where(0) == f"{path}, row {above.count(chr(10)) + 2}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "labels.csv: must have a header and a row an image, and is empty"),
        (b"image,label,group\n", "labels.csv: must have a row an image below its header"),
        (b"PK\3\4" + bytes(99), "labels.csv: must be a CSV file, and is a workbook of Excel"),
        (
            b"title\nimage,label\nx,y\n",
            "row 2: must have 1 cells as the header has, not 2; try men",
        ),
        (b"image,label,label,group\nx0,a,b,P\n", "must have one column label, and has 2 that dif"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: bytes, said: str) -> None:
    root = simple(tmp_path, lambda i: "ab"[i % 2])
    (root / "labels.csv").write_bytes(text)
    assert said in refused(Table(root, {}))


def test_a_workbook_in_place_of_the_table(tmp_path: Path) -> None:
    root = simple(tmp_path, lambda i: "ab"[i % 2])
    (root / "labels.csv").rename(root / "Labels.xlsx")
    assert "no labels.csv (files: none; save Labels.xlsx as CSV)" in refused(Table(root, {}))


@pytest.mark.parametrize("cell", ["{i}", "{i}.0", "000{i}"])
def test_names_that_are_numbers(tmp_path: Path, cell: str) -> None:
    """As a spreadsheet or pandas writes 00017.png."""
    names = [f"{i:05}.png" for i in range(12)]
    rows = [f"{cell.format(i=i)},{'ab'[i % 2]},P{i}" for i in range(12)]
    data = Table(listed(tmp_path, names, ["image,label,group", *rows]), {})
    assert len(data.table().names) == 12
    by_name = dict(zip(data.table().names, data.table().labels.tolist(), strict=True))
    for row in range(12):
        number = int(Path(data.source(row)).stem)
        assert by_name[data.table().names[row]] == number % 2


def test_a_name_itself_comes_before_its_number(tmp_path: Path) -> None:
    names = ["7.png", "07.png", *(f"x{i}.png" for i in range(6))]
    rows = ["7,a,P", *(f"x{i},{'ab'[i % 2]},P{i}" for i in range(6))]
    data = Table(listed(tmp_path, names, ["image,label,group", *rows]), {})
    row = data.table().names.index("7")
    assert Path(data.source(row)).name == "7.png"
    assert [item.name for item in data.unlabelled] == ["07.png"]


@pytest.mark.parametrize(
    "cell", ["['a', 'b']", '["a", "b"]', "[a,b]", "a/b", "a|b", "a;b", "a + b"]
)
def test_several_labels_in_a_cell(tmp_path: Path, cell: str) -> None:
    quoted = cell.replace('"', '""')
    root = simple(tmp_path, lambda i: f'"{quoted}"' if i < 3 else "ab"[i % 2])
    message = refused(Table(root, {}))
    assert "3 rows have several" in message
    assert "data.params.labels=many" in message


def test_lists_of_one_label(tmp_path: Path) -> None:
    root = simple(tmp_path, lambda i: "[]" if i == 0 else f"['{'ab'[i % 2]}']")
    data = Table(root, {})
    assert data.table().classes == ("a", "b")
    assert len(data.unlabelled) == 1


def test_classes_to_ask_about(tmp_path: Path) -> None:
    labels = ("no_finding", "No Finding", "unknown")
    notes = Table(simple(tmp_path, lambda i: labels[i % 3]), {}).understood().notes
    assert any("'No Finding' and 'no_finding' differ in signs only" in one for one in notes)
    assert any("'unknown' is read as a class, of 4 images" in one for one in notes)


@pytest.mark.parametrize("marks", ["x,", "Y,N", "1.0,0.0", "TRUE,FALSE", "yes,no"])
def test_marks_in_columns(tmp_path: Path, marks: str) -> None:
    yes, no = marks.split(",")
    rows = [f"x{i}.png,{yes if i % 2 else no},{no if i % 2 else yes}" for i in range(12)]
    root = listed(tmp_path, [f"x{i}.png" for i in range(12)], ["image,A,B", *rows])
    message = refused(Table(root, {}))
    assert "'data.params.label_columns=[A,B]' data.params.group_column=null" in message
    found = Table(root, {"label_columns": ["A", "B"], "group_column": None}).table()
    assert found.classes == ("A", "B")
    assert found.labels.sum() == 6


def test_advice_of_columns_keeps_those_that_are_there(tmp_path: Path) -> None:
    rows = [f"x{i}.png,{i % 2},{1 - i % 2}" for i in range(12)]
    root = listed(tmp_path, [f"x{i}.png" for i in range(12)], ["image,A,B", *rows])
    message = refused(Table(root, {"label_columns": ["A", "C"], "group_column": None}))
    assert message.endswith("try to set 'data.params.label_columns=[A,B]'")


@pytest.mark.parametrize(
    "cell", ["nan", "NA", "N/A", "none", "-1", "-1.0", "-999", "Unknown", "unknown patient",
             "UNKNOWN_PATIENT", "Patient unknown", "ANON", "n.a.", "Not applicable", "?", "xxx"],
)  # fmt: skip
def test_cells_that_name_no_patient(cell: str) -> None:
    assert is_placeholder(cell)


@pytest.mark.parametrize("cell", ["0", "Unna", "P-1", "unknown-17", "NAN12", "N1", "anna"])
def test_cells_that_name_a_patient(cell: str) -> None:
    assert not is_placeholder(cell)


def test_one_patient_for_all_is_named_with_the_cure(tmp_path: Path, spec: Make) -> None:
    root = simple(tmp_path, lambda i: "ab"[i % 2])
    path = root / "labels.csv"
    path.write_text("\n".join(f"{row.rpartition(',')[0]},0" for row in path.read_text().split()))
    path.write_text(path.read_text().replace("label,0", "label,group"))
    with pytest.raises(UserError) as caught:
        Source(spec("table"), root)
    assert "6 images of only 1 (0)" in str(caught.value)
    assert "data.params.group_column if these are no patients" in str(caught.value)


def test_rows_of_an_image_with_two_patients_are_said(tmp_path: Path) -> None:
    path = simple(tmp_path, lambda i: "ab"[i % 2]) / "labels.csv"
    path.write_text(path.read_text() + "x0.png,a,P99\n")
    notes = Table(tmp_path, {}).understood().notes
    assert any("1 images have rows of different patient groups" in one for one in notes)
    assert any("x0.png (P0, P99)" in one for one in notes)


@pytest.mark.parametrize("kind", ["folder", "split", "table"])
def test_another_layout_is_advised(tmp_path: Path, kind: str) -> None:
    if kind == "table":
        simple(tmp_path, lambda i: "ab"[i % 2])
        advice = "data=table data.params.csv=labels.csv"
    else:
        above = ("chest/train/", "chest/test/") if kind == "split" else ("",)
        fill(tmp_path, *(f"{one}{c}" for one in above for c in "ab"))
        advice = "data=folder, which reads 2 folders of images (a, b)"
    assert f"try {advice}" in refused(Isic(tmp_path, {}))


@pytest.mark.parametrize("gone", ["a", "ab"])
def test_a_class_of_damaged_images_only(tmp_path: Path, spec: Make, gone: str) -> None:
    root = fill(tmp_path / "x", "a", "b")
    for path in (path for c in gone for path in (root / c).iterdir()):
        path.write_bytes(b"no image, " + path.name.encode())
    with pytest.raises(UserError) as caught:
        Source(spec("folder", params={"damaged": "skip"}), root).prepare(tmp_path / "cache")
    assert f"has none of {', '.join(gone)} (the first is" in str(caught.value)
    assert "damaged=skip" not in str(caught.value)


@pytest.mark.parametrize("ending", ["tif", "gif", "webp"])
def test_a_stack_is_refused_and_a_preview_is_not(tmp_path: Path, spec: Make, ending: str) -> None:
    root = fill(tmp_path / "x", "a", "b", count=6)
    first, *more = (Image.new("RGB", (40, 30), (i * 90, 0, 0)) for i in range(3))
    path = root / "a" / f"stack.{'png' if ending == 'gif' else ending}"
    first.save(path, format="TIFF" if ending == "tif" else ending, save_all=True,
               append_images=more)  # fmt: skip
    with pytest.raises(UserError, match=r"must be one image, not 3 pages; try saving each page"):
        Source(spec("folder"), root).prepare(tmp_path / "cache")
    path.unlink()
    first.save(root / "a" / "p.tif", save_all=True, append_images=[first.resize((10, 8))])
    data = open_cache(Source(spec("folder"), root).prepare(tmp_path / "cache"))
    assert np.all(data.images[data.names.index("a/p.tif")] == first.getpixel((0, 0)))
