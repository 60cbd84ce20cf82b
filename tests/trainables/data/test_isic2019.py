"""ISIC-2019's layout: known counts of real images, and every way the folder can be wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from trainables.data.isic2019 import IMAGES, METADATA, TRUTH, Plugin
from trainables.errors import UserError

KNOWN = dict(NV=5577, MEL=1059, BKL=879, BCC=411, SCC=158, VASC=114, AK=104, DF=92)


def error(root, **params):
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_real_images(mini):
    data = Plugin(mini, {})
    table = data.table()
    counts = dict(zip(table.classes, np.bincount(table.labels).tolist(), strict=True))
    assert counts == KNOWN
    assert len(set(table.groups)) == 5975 + 382
    assert sum("_downsampled" in name for name in table.names) == 124
    assert data.read(len(table.names) - 1).shape == (150, 200, 3)
    assert data.read(0).shape == (180, 180, 3)


def test_table(isic):
    table = Plugin(isic, {}).table()
    assert table.classes == ("MEL", "NV")  # BCC and UNK have no image
    assert table.labels.tolist() == [1, 0] * 6
    assert table.groups[4:6] == ("L01", "ISIC_0000005")  # no lesion: the image itself
    assert table.names[3] == "ISIC_0000003_downsampled"


def test_root_may_be_around_or_inside(isic):
    names = Plugin(isic, {}).table().names
    assert Plugin(isic.parent, {}).table().names == names
    assert Plugin(isic / IMAGES, {}).table().names == names
    (isic / "deeper").mkdir()
    (isic / IMAGES).rename(isic / "deeper" / IMAGES)
    (isic / "deeper").rename(isic / IMAGES)  # as the zip nests it
    assert Plugin(isic, {}).table().names == names


def test_names_that_lost_their_ending(isic):
    path = isic / IMAGES / "ISIC_0000003_downsampled.jpg"
    path.rename(isic / IMAGES / "ISIC_0000003.jpg")
    assert len(Plugin(isic, {}).table().names) == 12


def test_rows_may_come_in_any_order(isic):
    before = Plugin(isic, {}).table()
    header, *rows = (isic / TRUTH).read_text().splitlines()
    (isic / TRUTH).write_text("\n".join([header, *rows[::-1]]))
    after = Plugin(isic, {}).table()
    assert after.names == before.names
    assert after.labels.tolist() == before.labels.tolist()


def test_no_folder(isic):
    assert "must be the folder that holds" in error(None)
    assert "must be the folder that holds" in error(isic / "elsewhere")
    (isic / IMAGES).rename(isic / "pictures")
    assert f"must hold {IMAGES}/" in error(isic)


def test_class_folders_instead(folders):
    message = error(folders)
    assert "data=folder" in message
    assert "2 folders of images (a, b)" in message


@pytest.mark.parametrize("name", [TRUTH, METADATA])
def test_no_csv(isic, name):
    (isic / name).unlink()
    assert f"no {name}; try adding it" in error(isic)


def test_no_column(isic, change):
    change(isic / METADATA, "lesion_id", "lesion-id")
    message = error(isic)
    assert f"no column 'lesion_id' in {METADATA} (columns: image, age_approx, anat" in message
    (isic / TRUTH).unlink()
    assert f"no {TRUTH}; no column 'lesion_id'" in error(isic)


def test_missing_images(isic):
    for i in (0, 1, 2, 4, 5, 6, 7):
        (isic / IMAGES / f"ISIC_{i:07}.jpg").unlink()
    message = error(isic)
    assert "must hold the 12 images" in message
    assert "(ISIC_0000000, ISIC_0000001, ISIC_0000002, ...; files: " in message


def test_images_without_row_are_unlabelled(isic):
    for name in ("x", "y"):
        shutil.copy(isic / IMAGES / "ISIC_0000000.jpg", isic / IMAGES / f"{name}.jpg")
    data = Plugin(isic, {})
    assert len(data.table().names) == 12
    assert [item.name for item in data.unlabelled] == ["x.jpg", "y.jpg"]


def test_two_files_of_one_image(isic):
    shutil.copy(isic / IMAGES / "ISIC_0000000.jpg", isic / IMAGES / "ISIC_0000000.png")
    assert len(Plugin(isic, {}).table().names) == 12  # equal bytes
    shutil.copy(isic / IMAGES / "ISIC_0000001.jpg", isic / IMAGES / "ISIC_0000000.png")
    assert "keeping one" in error(isic)


@pytest.mark.parametrize("cells", ["1.0,1.0,0.0,0.0", "0.0,0.0,0.0,0.0", "sure,0.0,0.0,0.0"])
def test_not_one_hot(isic, change, cells):
    change(isic / TRUTH, "ISIC_0000004,0.0,1.0,0.0,0.0", f"ISIC_0000004,{cells}")
    assert "row 6 (ISIC_0000004)" in error(isic)


def test_duplicate_row(isic, change):
    change(isic / TRUTH, "ISIC_0000004,", "ISIC_0000002,")
    data = Plugin(isic, {})
    assert len(data.table().names) == 11
    assert [Path(item.source).stem for item in data.unlabelled] == ["ISIC_0000004"]


def test_short_row(isic, change):
    change(isic / TRUTH, "ISIC_0000004,0.0,", "ISIC_0000004,")
    assert "row 6: must have 5 cells as the header has, not 4" in error(isic)


def test_metadata_without_row(isic, change):
    change(isic / METADATA, "ISIC_0000004,", "other,")
    assert "has none for 1 (ISIC_0000004)" in error(isic)


def test_exclude_classes(isic):
    assert "try MEL" in error(isic, exclude_classes=["MLE"])
    assert "at least 2 classes, not of 1 (NV)" in error(isic, exclude_classes=["MEL"])
    assert "exclude_classes" in error(isic, exclude=["MEL"])


def test_exclude_classes_of_real_images(mini):
    table = Plugin(mini, {"exclude_classes": ["NV", "DF"]}).table()
    assert len(table.names) == sum(KNOWN.values()) - KNOWN["NV"] - KNOWN["DF"]
    assert set(table.classes) == set(KNOWN) - {"NV", "DF"}
    assert isinstance(Plugin(mini, {}).source(0), Path)
