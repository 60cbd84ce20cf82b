"""Tables as they are: delimiters, encodings, columns, cells, paths, groups and given splits."""

import re
import unicodedata

import numpy as np
import pytest

from tests.trainables.data.conftest import save, write_lines
from trainables.data._lists import Lists, joined
from trainables.data.table import Plugin
from trainables.errors import UserError
from trainables.images.cache import Source


def error(root, **params):
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def rewrite(root, row):
    """Write every row anew: row(name, label, group, i) returns its cells."""
    header, *lines = (root / "labels.csv").read_text().split("\n")[:-1]
    cells = [line.strip().split(",") for line in lines]
    rows = [",".join(map(str, row(*one[:3], i))) for i, one in enumerate(cells)]
    write_lines(root / "labels.csv", [header.strip().removesuffix(",note"), *rows])


@pytest.fixture
def plain(listed):
    rewrite(listed, lambda name, label, group, i: (name, label, group))
    return listed


@pytest.fixture
def usual(plain):
    return Plugin(plain, {}).table()


def same(table, usual):
    return (
        table.names == usual.names
        and table.groups == usual.groups
        and table.classes == usual.classes
        and np.array_equal(table.labels, usual.labels)
    )


@pytest.mark.parametrize("delimiter", ["\t", ";", ",", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_delimiters_and_encodings(plain, usual, delimiter, encoding):
    text = (plain / "labels.csv").read_text().replace(",", delimiter)
    (plain / "labels.csv").write_bytes(text.encode(encoding))
    data = Plugin(plain, {})
    assert same(data.table(), usual)
    (read,) = data.understood().tables
    assert read.encoding == ("UTF-16" if "16" in encoding else "UTF-8")
    assert (read.rows, read.columns["label"]) == (12, "label")


def test_excel_says_its_delimiter_and_ends_with_empty_rows_and_cells(plain, usual):
    lines = (plain / "labels.csv").read_text().replace(",", ";").splitlines()
    write_lines(plain / "labels.csv", ["sep=;", *(f"{line};" for line in lines), ";;;", ""])
    assert same(Plugin(plain, {}).table(), usual)


def test_a_delimiter_in_quotes_is_none(plain):
    path = plain / "labels.csv"
    path.write_text(path.read_text().replace("image,label", '"image",label', 1))
    text = path.read_text().replace("sick", '"sick; very, very"')
    path.write_text(text)
    assert Plugin(plain, {}).table().classes == ("sick; very, very", "well")


def labels(table):
    stems = [name.replace("\\", "/").rpartition("/")[2][:4] for name in table.names]
    return dict(zip(stems, table.labels.tolist(), strict=True))


@pytest.mark.parametrize(
    "call",
    [
        "{}.PNG", "{}.jpg", r"C:\data\images\{}.png", "/home/me/images/{}.png",
        "./{}.png", r"images\{}.png", "some/where/else/{}.png", "~/{}.png",
    ],
)  # fmt: skip
def test_paths_of_other_machines(plain, usual, call):
    rewrite(plain, lambda name, label, group, i: (call.format(name), label, group))
    table = Plugin(plain, {}).table()
    assert labels(table) == labels(usual)
    assert all(":" not in name and not name.startswith(("/", "~", ".")) for name in table.names)


def test_a_file_is_not_taken_by_a_row_of_another_folder(plain):
    for i in range(6):
        for part in ("train", "test"):
            save(plain / "images" / part / f"{i}.png", 100 * (part == "test") + i)
    both = [(part, i) for i in range(6) for part in ("train", "test")]
    rows = [f"{part}/{i}.png,{'ab'[i % 2]},{part}{i}" for part, i in both]
    write_lines(plain / "labels.csv", ["image,label,group", *rows])
    (plain / "images" / "train" / "0.png").unlink()
    data = Plugin(plain, {"only": "rows"})
    assert "train/0.png" not in data.table().names
    assert "test/0.png" in data.table().names
    assert data.understood().left_out[0].examples == ("train/0.png",)


def test_decomposed_file_names(plain):
    for form in ("NFC", "NFD"):
        other = "NFD" if form == "NFC" else "NFC"
        name = unicodedata.normalize(form, "Müller-é")
        save(plain / "images" / f"{unicodedata.normalize(other, name)}.png", 50)
        rewrite(plain, lambda n, label, group, i, name=name: (name if i == 0 else n, label, group))
        data = Plugin(plain, {})
        assert unicodedata.normalize("NFC", "Müller-é") in data.table().names
        (plain / "images" / f"{unicodedata.normalize(other, name)}.png").unlink()


def test_case_of_names(plain, usual):
    rewrite(plain, lambda name, label, group, i: (name.upper(), label, group))
    assert Plugin(plain, {}).table().labels.tolist() == usual.labels.tolist()
    save(plain / "images" / "X.png", 60)
    save(plain / "images" / "x.png", 61)
    rewrite(plain, lambda n, label, group, i: ("x" if i == 0 else n, label, group))
    data = Plugin(plain, {})
    assert data.source(data.table().names.index("x")).name == "x.png"


@pytest.mark.parametrize(
    "cell", ["nan", "NaN", "NA", "N/A", "unknown", "Unknown", "-1", "none", "None", "null", "?"]
)
def test_a_placeholder_is_no_patient(plain, cell):
    rewrite(plain, lambda n, label, group, i: (n, label, cell if i % 3 else group))
    data = Plugin(plain, {})
    assert cell not in data.table().groups
    assert data.understood().notes == (
        f"8 images have no patient group but {cell}: each is its own",
    )


def test_classes_differ_by_more_than_case_and_spaces(plain, usual):
    shown = {"sick": ["sick", " Sick", "SICK", "sick"], "well": ["well", "we ll", "Well", "well"]}
    rewrite(plain, lambda n, label, group, i: (n, shown[label][i // 3], group))
    data = Plugin(plain, {})
    assert same(data.table(), usual)
    assert len(data.understood().notes) == 4
    assert "'SICK' is read as class 'sick': only case or spaces differ" in data.understood().notes


@pytest.mark.parametrize("cells", [("0", "1"), ("0.0", "1.0"), ("0", "1.00")])
def test_numbers_are_classes(plain, cells):
    rewrite(plain, lambda n, label, group, i: (n, cells[label == "well"], group))
    assert Plugin(plain, {}).table().classes == ("0", "1")


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "null", "-1", "-1.0"])
def test_empty_labels(plain, empty):
    rewrite(plain, lambda n, label, g, i: (n, empty if i < 2 else float(label == "well"), g))
    data = Plugin(plain, {})
    assert data.table().classes == ("0", "1")
    assert len(data.unlabelled) == 2
    assert {item.group for item in data.unlabelled} == {"P00", "P10"}


def test_several_labels_a_cell(plain):
    rewrite(plain, lambda n, label, group, i: (n, "sick|old" if i == 0 else label, group))
    assert "1 rows have several, joined by '|' (sick|old)" in error(plain)
    rewrite(plain, lambda n, label, group, i: (n, "sick;well" if i == 0 else label, group))
    assert "joined by ';'" in error(plain)
    rewrite(plain, lambda n, label, group, i: (n, "sick; old" if i == 0 else label, group))
    assert Plugin(plain, {}).table().classes == ("sick", "sick; old", "well")  # a name with one


def test_numbers_where_text_is_meant(plain):
    path = plain / "labels.csv"
    path.write_text(path.read_text().replace("image,label,group", "0,1,2"))
    params = {"image_column": 0, "label_column": 1, "group_column": 2}
    assert Plugin(plain, params).table().classes == ("sick", "well")


def one_hot(root, names="c1,c2,c3", cells=("1,0,0", "0,1,0", "0,0,1")):
    rows = [f"a.{i:02}.pdf-fig,{cells[i % 3]},P{i}" for i in range(12)]
    write_lines(root / "labels.csv", [f"image,{names},group", *rows])


@pytest.mark.parametrize(
    "cells",
    [
        ("1,0,0", "0,1,0", "0,0,1"),
        ("1.0,0.0,0.0", "0.0,1.0,0.0", "0.0,0.0,1.0"),
        ("True,False,False", "False,True,False", "False,False,True"),
        ("1,,", ",1,", ",,1"),
    ],
)
def test_one_hot_columns_of_any_name(listed, cells):
    one_hot(listed, cells=cells)
    table = Plugin(listed, {"label_columns": ["c1", "c2", "c3"]}).table()
    assert table.classes == ("c1", "c2", "c3")
    assert table.labels.tolist() == [0, 1, 2] * 4
    assert error(listed).endswith("set 'data.params.label_columns=[c1,c2,c3]'")


def test_one_hot_rows(listed, change):
    one_hot(listed)
    change(listed / "labels.csv", "a.04.pdf-fig,0,1,0", "a.04.pdf-fig,,,")
    data = Plugin(listed, {"label_columns": ["c1", "c2", "c3"]})
    assert len(data.table().names) == 11
    assert [item.name for item in data.unlabelled] == ["a.04.pdf-fig"]
    change(listed / "labels.csv", "a.05.pdf-fig,0,0,1", "a.05.pdf-fig,0,1,1")
    message = error(listed, label_columns=["c1", "c2", "c3"])
    assert "row 7 (a.05.pdf-fig): must have exactly one class at 1.0, not c2=1, c3=1" in message


def test_the_map_of_classes(plain):
    rewrite(plain, lambda n, label, group, i: (n, ("A", "b", "C d", "e")[i % 4], group))
    data = Plugin(plain, {"classes": {"Ill": ["a", "B"], "Fine": "Cd"}})
    assert data.table().classes == ("Ill", "Fine")
    assert np.bincount(data.table().labels).tolist() == [6, 3]
    assert data.understood().left_out[0].count == 3
    assert "classes.Ill=x: must be one of A, C d, b, e" in error(plain, classes={"Ill": "x"})
    message = error(plain, classes={"Ill": ["A", "b"], "Fine": ["A"]})
    assert "data.params.classes.Fine=A: must be in one class, and is in Ill too" in message
    classes = {"Ill": ["A", "b"], "Fine": "C d", "Rest": "e"}
    table = Plugin(plain, {"classes": classes, "exclude_classes": "rest"}).table()
    assert table.classes == ("Ill", "Fine")


def test_a_group_from_the_path(plain):
    table = Plugin(plain, {"group_column": None, "group_pattern": r"a\.(\d)(\d)"}).table()
    assert table.groups[:3] == ("0/0", "0/1", "0/2")
    table = Plugin(plain, {"group_pattern": r"more/"}).table()
    assert table.groups[:4] == ("more/", "more/", "more/", "P11")  # the rest from the column
    assert "matches none (" in error(plain, group_pattern="patient")
    assert "must be a regular expression" in error(plain, group_pattern="(")


def test_groups_of_another_table(plain, usual):
    rows = [f"{n},{g}" for n, g in zip(usual.names, usual.groups, strict=True)]
    write_lines(plain / "who.csv", ["image,lesion", *rows])
    params = {"groups_csv": "who.csv", "group_column": "lesion"}
    assert Plugin(plain, params).table().groups == usual.groups
    write_lines(plain / "who.csv", ["image,lesion", *rows[1:]])
    assert "has none for 1 (a.00.pdf-fig)" in error(plain, **params)


SPLIT = ("train", "train", "Validation", "test")


def with_split(root, part, split="split"):
    text = ["image,label,group,split"]
    for i in range(12):
        text.append(f"a.{i:02}.pdf-fig,{'sick' if i % 2 else 'well'},P{i},{part(i)}")
    write_lines(root / "labels.csv", text)
    return {"split_column": split}


def test_a_split_column(plain, spec):
    params = with_split(plain, lambda i: SPLIT[i // 2 % 4])
    found = Source(spec("table", params=params), plain)
    assert found.split["val"].tolist() == [4, 5]
    assert found.split["test"].tolist() == [6, 7]
    given = found.images.understood().given_split
    assert {part: one.images for part, one in given.items()} == {"test": 2, "train": 8, "val": 2}
    assert "no column 'fold' in labels.csv" in (message := error(plain, split_column="fold"))
    assert message.endswith("set data.params.split_column=split")


def test_a_bad_split_column(plain):
    params = with_split(plain, lambda i: "A" if i else "train")
    assert "must say train, val or test, and says A" in error(plain, **params)


def test_images_in_no_part_are_left_out(plain):
    data = Plugin(plain, with_split(plain, lambda i: SPLIT[i // 2 % 4] if i < 8 else ""))
    assert len(data.table().names) == 8
    assert data.understood().left_out[0].count == 4


def test_what_a_split_lacks_is_drawn(plain, spec):
    params = with_split(plain, lambda i: "test" if i < 2 else "train")
    found = Source(spec("table", params=params), plain)
    assert found.split["test"].tolist() == [0, 1]
    assert len(found.split["val"]) == 2
    assert len(found.split["train"]) == 8


def test_patients_in_two_parts(plain, spec):
    params = with_split(plain, lambda i: SPLIT[i // 2 % 4])
    path = plain / "labels.csv"
    path.write_text(path.read_text().replace("P4,", "P0,").replace("P6,", "P1,"))
    with pytest.raises(UserError) as caught:
        Source(spec("table", params=params), plain)
    assert "2 of them (P0, P1) have images in more than one part" in str(caught.value)
    assert "data.params.protocol=published" in str(caught.value)
    found = Source(spec("table", params={**params, "protocol": "published"}), plain)
    assert found.leak.startswith("LEAKS, as the published protocol does: 2 of 10 patient groups")
    assert found.table.groups == found.table.names


def test_a_published_protocol_needs_no_test_part(plain, spec):
    params = with_split(plain, lambda i: "val" if i < 2 else "train")
    found = Source(spec("table", params={**params, "protocol": "published"}), plain)
    assert {part: len(rows) for part, rows in found.split.items()} == {
        "train": 10, "val": 2, "test": 0,
    }  # fmt: skip
    assert "there is no test part" in found.leak


def test_a_class_must_be_in_every_part(plain, spec):
    parts = {0: "val", 2: "val", 1: "test", 4: "test"}
    params = with_split(plain, lambda i: parts.get(i, "train"))
    with pytest.raises(UserError, match="class sick: must have an image in val"):
        Source(spec("table", params=params), plain)


@pytest.mark.parametrize("header", [True, False])
def test_three_lists_of_names(plain, spec, usual, header):
    parts = {"train": usual.names[:8], "val": usual.names[8:10], "test": usual.names[10:]}
    for part, names in parts.items():
        rows = [f"{name}.png" for name in names]
        write_lines(plain / f"{part}.txt", ["image", *rows] if header else rows)
    splits = {part: f"{part}.txt" for part in parts}
    params = {"splits": splits, "group_column": None}
    found = Source(spec("table", params=params), plain)
    for part, names in parts.items():
        assert [found.table.names[i] for i in found.split[part]] == list(names)
    write_lines(plain / "test.txt", [f"{name}.png" for name in usual.names[7:]])
    assert "and 3 images are in two (a.07" in error(plain, **params)


def test_three_tables_in_place_of_one(plain, spec, usual):
    header, *rows = (plain / "labels.csv").read_text().splitlines()
    rows = [f"{','.join(row.split(',')[:2])},P{i}" for i, row in enumerate(rows)]
    for part, some in {"train": rows[:8], "val": rows[8:10], "test": rows[10:]}.items():
        write_lines(plain / f"{part}.csv", [header, *some])
    (plain / "labels.csv").unlink()
    splits = {part: f"{part}.csv" for part in ("train", "val", "test")}
    found = Source(spec("table", params={"splits": splits}), plain)
    assert found.table.names == usual.names
    assert [len(rows) for rows in found.split.values()] == [8, 2, 2]
    write_lines(plain / "val.csv", ["image,dx", "x,y"])
    assert "val.csv: must have the columns of train.csv" in error(plain, splits=splits)


def test_a_row_of_several_tables_is_named_with_its_own_file(tmp_path):
    for part, cells in {"train": "ab", "val": "c", "test": "de"}.items():
        write_lines(tmp_path / f"{part}.csv", ["image", *cells])
    lists = Lists("train.csv", "val.csv", "test.csv")
    found, parts = joined(lists, tmp_path)
    assert [found.where(row).removeprefix(f"{tmp_path}/") for row in range(5)] == [
        "train.csv, row 2", "train.csv, row 3", "val.csv, row 2", "test.csv, row 2",
        "test.csv, row 3",
    ]  # fmt: skip
    assert parts == ["train", "train", "val", "test", "test"]


def test_a_split_changes_the_digest(plain, spec, tmp_path):
    params = with_split(plain, lambda i: SPLIT[i // 2 % 4])
    first = Source(spec("table", params=params), plain).digest(tmp_path / "cache")
    with_split(plain, lambda i: SPLIT[(i + 2) // 2 % 4])
    assert Source(spec("table", params=params), plain).digest(tmp_path / "cache") != first


def test_names_of_all_that_is_missing(plain):
    (plain / "images").rename(plain / "pictures")
    text = (plain / "labels.csv").read_text().replace("image,label,group", "filename,dx,pid")
    (plain / "labels.csv").unlink()
    (plain / "who.csv").write_text(text)
    message = error(plain)
    assert "no folder images/ (folders: pictures)" in message
    assert "no labels.csv (files: who.csv)" in message
    assert "no column 'image', 'label', 'group' in who.csv (columns: filename, dx, pid)" in message
    settings = message.rpartition("; try to set ")[2].split(" ")
    params = dict(one.removeprefix("data.params.").split("=") for one in settings)
    assert len(Plugin(plain, params).table().names) == 12


def test_the_error_of_one_column(plain, change):
    change(plain / "labels.csv", "image,label,group", "filename,label,group")
    message = error(plain)
    assert "no column 'image' in labels.csv (columns: filename, label, group)" in message
    assert message.endswith("set data.params.image_column=filename")


def test_class_folders_in_place_of_a_table(folders):
    assert "try data=folder, which reads 2 folders of images (a, b)" in error(folders)


def test_excluded_cells_may_hold_several_labels(plain):
    rewrite(plain, lambda n, label, group, i: (n, "sick|old" if i == 0 else label, group))
    table = Plugin(plain, {"exclude_classes": ["sick|old"]}).table()
    assert table.classes == ("sick", "well")


def test_no_merging_under_a_published_protocol(plain, spec):
    made = spec("table", params={"protocol": "published"}, merge_duplicates=True)
    with pytest.raises(UserError, match=r"must be false with .*protocol=published"):
        Source(made, plain)


def test_a_published_protocol_without_a_split_draws_images(plain, spec):
    found = Source(spec("table", params={"protocol": "published"}), plain)
    assert found.table.groups == found.table.names
    assert len(set(found.images.patient_groups)) == 9
    assert re.match(r"LEAKS, .*: [1-9]\d* of 9 patient groups have images in more", found.leak)


def test_images_of_another_kind_are_counted_in_the_error(plain):
    for path in plain.rglob("*.png"):
        path.rename(path.with_suffix(".fits"))
    assert "...; files: none; other files: 12 .fits)" in error(plain)
