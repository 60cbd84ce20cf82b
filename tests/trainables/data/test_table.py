"""A folder and a CSV file: how rows find their files, real X-rays, and all that can be wrong."""

import shutil

import numpy as np
import pytest

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
    assert "must have the column group in its header" in (message := error(listed))
    assert "(image, label, patient, note)" in message
    table = Plugin(listed, {"group_column": None}).table()
    assert table.groups == table.names


def test_no_folder(listed, tmp_path):
    assert "must be the folder that holds images/ and labels.csv" in error(None)
    assert "data.params.images=images: must be a folder in" in error(tmp_path)
    assert "data.params.images" in error(listed, images="pictures")
    assert "labels.cvs: must be a CSV file" in error(listed, csv="labels.cvs")


def test_misspelt_column(listed):
    assert "must have the column lable in its header" in error(listed, label_column="lable")


def test_rows_without_a_file(listed):
    for i in (4, 7):
        (listed / "images" / f"a.{i:02}.pdf-fig.png").unlink()
    assert "and 2 are not there (a.04.pdf-fig, a.07.pdf-fig)" in error(listed)


def test_files_without_a_row(listed):
    shutil.copy(listed / "images" / "a.04.pdf-fig.png", listed / "images" / "x.png")
    assert "none for 1 (x.png)" in error(listed)


def test_two_files_of_one_name(listed):
    shutil.copy(listed / "images" / "a.04.pdf-fig.png", listed / "images" / "more")
    message = error(listed)
    assert (
        "must say which file a.04.pdf-fig is (a.04.pdf-fig.png, more/a.04.pdf-fig.png)" in message
    )


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("a.03.pdf-fig,well,P,", "row 6: must be of another image than a row above (a.03.pdf-fig)"),
        ("a.04.pdf-fig,,P,", "row 6: must have a value in column label"),
        (",well,P,", "row 6: must have a value in column image"),
    ],
)
def test_bad_row(listed, change, cells, said):
    change(listed / "labels.csv", "a.04.pdf-fig,well,P01,", cells)
    assert said in error(listed)


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
