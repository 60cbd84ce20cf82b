"""A folder and a CSV file: how rows find their files, real X-rays, and all that can be wrong."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainables.data.conftest import left_out, save
from trainables.data.table import Plugin
from trainables.errors import UserError
from trainables.images.cache import open_cache, prepare

CXR = {"exclude_classes": ["Other"], "image_column": "image_id", "group_column": "patient_id"}


def error(root, **params):
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_table(listed):
    table = Plugin(listed, {}).table()
    assert table.classes == ("sick", "well")
    assert table.labels.tolist() == [1, 0] * 6
    assert table.names[5] == table.groups[5] == "a.05.pdf-fig"  # no patient: the image itself
    assert table.groups[:4] == ("P00", "P10", "P00", "P11")
    assert Plugin(listed, {}).source(0) == listed / "images" / "more" / "a.00.pdf-fig.png"


@pytest.mark.parametrize(
    "called", ["a.00.pdf-fig.png", "more/a.00.pdf-fig", "more/a.00.pdf-fig.png"]
)
def test_a_row_may_give_path_or_ending(listed, change, called):
    change(listed / "labels.csv", "a.00.pdf-fig,", f"{called},")
    data = Plugin(listed, {})
    row = data.table().names.index(called)
    assert data.source(row) == listed / "images" / "more" / "a.00.pdf-fig.png"


def test_other_names(listed, change):
    (listed / "labels.csv").rename(listed / "who.csv")
    (listed / "images").rename(listed / "pictures")
    change(listed / "who.csv", "image,label,group", "file,finding,patient")
    params = {"images": "pictures", "csv": "who.csv", "image_column": "file"}
    params |= {"label_column": "finding", "group_column": "patient"}
    assert Plugin(listed, params).table().groups[0] == "P00"


def test_every_image_its_own_group_only_on_request(listed, change):
    change(listed / "labels.csv", "label,group", "label,patient")
    assert "no column 'group' in labels.csv (columns: image, label, patient, note)" in (
        message := error(listed)
    )
    assert message.endswith("try to set data.params.group_column=patient")
    table = Plugin(listed, {"group_column": None}).table()
    assert table.groups == table.names


def test_no_folder(listed, tmp_path):
    assert "must be the folder that holds images/ and labels.csv" in error(None)
    assert "no folder images/" in error(tmp_path)
    assert error(listed, images="pictures").endswith("try to set data.params.images=images")
    assert error(listed, csv="labels.cvs").endswith("try to set data.params.csv=labels.csv")


def test_misspelt_column(listed):
    message = error(listed, label_column="lable")
    assert message.endswith("try to set data.params.label_column=label")


def test_a_few_rows_without_a_file_are_left_out(listed):
    for i in (4, 7):
        (listed / "images" / f"a.{i:02}.pdf-fig.png").unlink()
    data = Plugin(listed, {})
    assert len(data.table().names) == 10
    assert left_out(data) == {"rows of labels.csv without a file": 2}


def test_most_rows_without_a_file_are_a_wrong_column(listed):
    for i in range(7):
        next(listed.rglob(f"a.{i:02}.pdf-fig.png")).unlink()
    message = error(listed)
    assert "and 7 are not there (a.00.pdf-fig, a.01.pdf-fig, a.02.pdf-fig, ...; files: " in message
    assert "data.params.only=files" in message
    assert len(Plugin(listed, {"only": "files"}).table().names) == 5


def test_files_without_a_row_are_unlabelled(listed):
    save(listed / "images" / "x.png", 77)
    data = Plugin(listed, {})
    assert len(data.table().names) == 12
    assert [(item.name, item.label) for item in data.unlabelled] == [("x.png", None)]
    assert data.understood().unlabelled == 1
    data = Plugin(listed, {"only": "rows"})
    assert (len(data.table().names), data.unlabelled) == (12, [])
    assert left_out(data) == {"files without a row (data.params.only=rows)": 1}


def test_two_files_of_one_name(listed):
    save(listed / "images" / "more" / "a.04.pdf-fig.png", 99)
    message = error(listed)
    assert (
        "must say which file a.04.pdf-fig is (a.04.pdf-fig.png, more/a.04.pdf-fig.png)" in message
    )


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("a.03.pdf-fig,sick,P,", {"further rows of an image": 1}),
        ("a.03.pdf-fig,well,P,", {"images with rows of different classes": 1}),
        ("a.04.pdf-fig,,P,", {}),
        (",well,P,", {"rows of labels.csv without a file": 1}),
    ],
)
def test_a_row_that_labels_nothing(listed, change, cells, said):
    change(listed / "labels.csv", "a.04.pdf-fig,well,P01,", cells)
    data = Plugin(listed, {})
    assert "a.04.pdf-fig" not in data.table().names
    assert len(data.table().names) == (10 if "different" in str(said) else 11)
    assert [Path(item.source).stem for item in data.unlabelled] == ["a.04.pdf-fig"]
    assert left_out(data) == said


def test_real_x_rays(cxr, spec, tmp_path):
    made = spec("table", params=CXR, channels=1, size=96)
    path = prepare(made, cxr, tmp_path)
    data = open_cache(path)
    assert data.classes == ("Covid-19", "No_findings", "Pneumonia")
    assert np.bincount(data.labels).tolist() == [92, 401, 423]
    assert data.images.shape == (916, 96, 96, 1)
    assert 0 <= (path / "images.npy").stat().st_size - 916 * 96**2 < 4096
    train = np.asarray(data.images[data.split["train"]], float) / 255
    assert data.mean == pytest.approx([train.mean()])
    assert data.std == pytest.approx([train.std()])
    assert 0.4 < data.mean[0] < 0.7
    assert data.duplicates == ()  # the one pair of identical images is of one patient


def test_real_x_rays_of_identical_pixels_are_found(cxr, spec, tmp_path):
    params = {**CXR, "group_column": None}
    data = open_cache(prepare(spec("table", params=params, channels=1, size=48), cxr, tmp_path))
    pairs = {(data.names[pair.a], data.names[pair.b]) for pair in data.duplicates}
    assert ("00002658_001", "00002658_002") in pairs
    patient = dict(zip(data.names, Plugin(cxr, CXR).table().groups, strict=True))
    assert all(patient[a] == patient[b] for a, b in pairs)
