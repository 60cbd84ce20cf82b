"""Every case of shared/cases gets the outcome that its README states."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trainables.errors import UserError
from trainables.images.cache import Source, open_cache

MAKE = Path(__file__).parents[4] / "shared" / "cases" / "make.py"
CHEST = {
    "images": ".", "csv": "Data_Entry_2017.csv", "image_column": "Image Index",
    "label_column": "Finding Labels", "group_column": "Patient ID",
}  # fmt: skip
HAM = {
    "images": ".", "csv": "HAM10000_metadata.csv", "image_column": "image_id",
    "label_column": "dx", "group_column": "lesion_id",
}  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    if not MAKE.exists():
        pytest.skip(f"no cases: {MAKE} is not there")
    spec = importlib.util.spec_from_file_location("make", MAKE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out = tmp_path_factory.mktemp("cases")

    def made(case: str) -> Path:
        if not (out / case).exists():
            module.main(out, case)
        return out / case

    return made


@pytest.fixture
def source(build, spec):
    return lambda case, name="table", **params: Source(spec(name, params=params), build(case))


def refused(source, case, **params) -> str:
    with pytest.raises(UserError) as caught:
        source(case, **params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def left_out(found) -> dict[str, int]:
    return {one.what: one.count for one in found.images.understood().left_out}


def test_unlabelled(source):
    found = source("unlabelled")
    assert len(found.table.names) == 80
    assert len(found.images.unlabelled) == found.images.understood().unlabelled == 160
    assert all(item.group for item in found.images.unlabelled)


def test_split_folders(source):
    found = source("split_folders", "folder")
    assert found.table.classes == ("NORMAL", "PNEUMONIA")
    assert {part: len(rows) for part, rows in found.split.items()} == {
        "train": 168, "val": 24, "test": 48,
    }  # fmt: skip
    for part, rows in found.split.items():
        assert {found.table.names[i].split("/")[1] for i in rows} == {part}
    assert "the folders train, val, test are the split" in found.images.understood().notes[0]


def test_multi_label(source):
    message = refused(source, "multi_label", **CHEST)
    assert "24 rows have several, joined by '|'" in message
    assert "data.params.labels=many" in message
    keep = {"Effusion": "Effusion", "Healthy": ["No Finding", "No Finding|Edema"]}
    found = source("multi_label", **CHEST, classes=keep)
    assert found.table.classes == ("Effusion", "Healthy")
    assert len(set(found.table.groups)) < len(found.table.groups)


def test_multi_label_with_many(source, build):
    found = source("multi_label", **CHEST, labels="many")
    assert found.table.classes == ("Edema", "Effusion", "Infiltration", "Nodule")
    cells = (build("multi_label") / CHEST["csv"]).read_text().splitlines()[1:]
    findings = [row.split(",")[1].replace("No Finding", "").strip("|") for row in cells]
    counts = [len(one.split("|")) if one else 0 for one in findings]
    assert sorted(found.table.labels.sum(1).tolist()) == sorted(counts)
    assert counts.count(2) > 10
    assert all((found.table.labels[index] == 1).any(0).all() for index in found.split.values())


def test_multi_label_names_all_that_is_missing(source):
    message = refused(source, "multi_label")
    for name, value in CHEST.items():
        assert f"data.params.{name}={value}" in message


def test_placeholder_group(source):
    found = source("placeholder_group")
    assert max(Counter(found.table.groups).values()) == 2
    assert "120 images have no patient group but nan: each is its own" in (
        found.images.understood().notes
    )


def test_same_image_in_two_folders(source):
    found = source("same_image_in_two_folders", **HAM)
    assert len(found.table.names) == 240
    assert found.images.unlabelled == []
    assert left_out(found)["copies of images with a row (equal bytes)"] == 240


def test_index_labels(source):
    assert source("index_labels").table.classes == ("0", "1", "2")
    assert source("index_labels", exclude_classes=[2]).table.classes == ("0", "1")


def test_downsampled_in_truth_only(source):
    found = source("downsampled_in_truth_only", "isic2019")
    assert len(found.table.names) == 240
    assert len(set(found.table.groups)) == 235


def test_weight_columns(source):
    found = source("weight_columns", "isic2019")
    assert len(found.table.names) == 240
    ignored = [one for one in found.images.understood().left_out if "no classes" in one.what]
    assert [one.examples for one in ignored] == [("score_weight", "validation_weight")]


def test_upper_case_ending(source):
    found = source("upper_case_ending")
    assert len(found.table.names) == 240
    assert str(found.images.source(0)).endswith(".JPG")


def test_damaged(source, tmp_path):
    with pytest.raises(UserError) as caught:
        source("damaged", "folder").prepare(tmp_path)
    assert "5 of 240 are damaged" in str(caught.value)
    names = re.findall(r"\w+/ISIC_\w+\.jpg", str(caught.value))
    assert len(set(names)) == 5
    whole = source("damaged", "folder")
    data = open_cache(source("damaged", "folder", damaged="skip").prepare(tmp_path))
    assert data.images.shape == (235, 32, 32, 3)
    assert set(data.damaged) == set(names)
    kept = [i for i, name in enumerate(whole.table.names) if name not in names]
    assert data.names == tuple(whole.table.names[i] for i in kept)
    assert np.array_equal(data.labels, whole.table.labels[kept])
    assert all(image.any() for image in data.images)  # no row is one that was left black
