"""Class folders as they are: splits, masks, copies, links, other files, published layouts."""

import os
import shutil

import pytest
import yaml

from tests.trainables.data.conftest import left_out, save, write_lines
from tests.trainables.data.test_contract import SPACES
from trainables.data._walk import walk
from trainables.data.folder import Plugin
from trainables.data.isic2019 import IMAGES, TRUTH
from trainables.data.isic2019 import Plugin as Isic
from trainables.data.table import Plugin as Table
from trainables.errors import UserError
from trainables.images.cache import Source
from trainables.images.fingerprint import contents


def error(root, **params):
    with pytest.raises(UserError) as caught:
        Plugin(root, params).table()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def fill(root, *folders, count=4, first=1):
    """Save so many distinct images in each folder."""
    for at, folder in enumerate(folders, start=first):
        for i in range(count):
            save(root / folder / f"{folder.replace('/', '_')}{i}.png", 1000 * at + i)
    return root


@pytest.mark.parametrize("above", ["", "chest_xray/", "a/b/"])
@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "dev", "holdout"),
    ],
)
def test_split_folders(tmp_path, spec, above, names):
    root = fill(tmp_path / "x", *(f"{above}{part}/{c}" for part in names for c in "ab"))
    found = Source(spec("folder"), root)
    assert found.table.classes == ("a", "b")
    assert [len(rows) for rows in found.split.values()] == [8, 8, 8]
    for part, rows in zip(names, found.split.values(), strict=True):
        assert all(f"{above}{part}/" in found.table.names[i] for i in rows)


def test_split_folders_without_val(tmp_path, spec):
    root = fill(tmp_path / "x", *(f"{part}/{c}" for part in ("train", "test") for c in "ab"))
    found = Source(spec("folder"), root)
    assert {found.table.names[i].split("/")[0] for i in found.split["val"]} == {"train"}
    assert [len(rows) for rows in found.split.values()] == [6, 2, 8]


def test_a_split_within_the_classes(tmp_path, spec):
    root = fill(tmp_path / "x", *(f"{c}/{part}" for part in ("train", "val", "test") for c in "ab"))
    found = Source(spec("folder"), root)
    assert found.table.classes == ("a", "b")
    assert [len(rows) for rows in found.split.values()] == [8, 8, 8]


def test_what_lies_beside_a_split_is_left_out(tmp_path):
    root = fill(tmp_path / "x", *(f"{part}/{c}" for part in ("train", "test") for c in "ab"))
    shutil.copytree(root, root / "chest_xray")
    data = Plugin(root, {})
    assert len(data.table().names) == 16
    assert data.unlabelled == []
    assert left_out(data)["images beside the folders of the split"] == 16


def test_a_class_called_train_is_a_class(tmp_path):
    root = fill(tmp_path / "x", "train", "bus")
    assert Plugin(root, {}).table().classes == ("bus", "train")


@pytest.mark.parametrize("where", ["{c}/{kind}", "{kind}/{c}", "set/{c}/{kind}", "all/{kind}/{c}"])
@pytest.mark.parametrize("masks", ["masks", "Lung Masks", "lesion_masks", "segmentation"])
def test_masks_are_no_images(tmp_path, where, masks):
    root = tmp_path / "x"
    fill(root, *(where.format(c=c, kind=kind) for c in "ab" for kind in ("images", masks)))
    data = Plugin(root, {})
    assert data.table().classes == ("a", "b")
    assert len(data.table().names) == 8
    assert left_out(data) == {"masks": 8}


def test_masks_beside_their_images(tmp_path):
    root = fill(tmp_path / "x", "a", "b")
    for i in range(4):
        shutil.copy(root / "a" / f"a{i}.png", root / "a" / f"a{i}_mask.png")
    save(root / "a" / "a0_mask_1.png", 5)
    save(root / "b" / "other_mask.png", 6)  # of no image
    data = Plugin(root, {})
    assert len(data.table().names) == 9
    assert left_out(data) == {"masks": 5}


def test_classes_that_are_called_as_masks_are(tmp_path):
    root = fill(tmp_path / "x", "with_mask", "without_mask")
    assert Plugin(root, {}).table().classes == ("with_mask", "without_mask")


def test_class_folders_that_differ_in_case(tmp_path):
    root = fill(tmp_path / "x", "one/mel", "two/MEL", "two/nv")
    for name in ("mel", "MEL", "nv"):
        next(root.rglob(name)).rename(root / name)
    assert Plugin(root, {}).table().classes == ("MEL", "nv")


def test_equal_files_are_one_image(tmp_path):
    root = fill(tmp_path / "x", "a", "b")
    shutil.copytree(root / "a", root / "a" / "again")
    shutil.copy(root / "b" / "b0.png", root / "b" / "renamed.png")
    data = Plugin(root, {})
    assert len(data.table().names) == 8
    assert left_out(data) == {"copies of other images (equal bytes)": 5}


def test_one_image_in_two_classes(tmp_path):
    root = fill(tmp_path / "x", "a", "b")
    shutil.copy(root / "a" / "a1.png", root / "b" / "other.png")
    data = Plugin(root, {})
    assert "a/a1.png" not in data.table().names
    assert "b/other.png" not in data.table().names
    assert len(data.table().names) == 7
    (conflict,) = data.understood().left_out
    assert conflict.what == "images with copies in different classes"
    assert conflict.examples == ("a/a1.png = b/other.png",)
    shutil.copytree(root / "a", root / "b", dirs_exist_ok=True)
    shutil.copytree(root / "b", root / "a", dirs_exist_ok=True)
    assert "must be in one class, as 8 images are in several" in error(root)


def test_one_image_in_two_parts(tmp_path):
    root = fill(tmp_path / "x", *(f"{part}/{c}" for part in ("train", "test") for c in "ab"))
    shutil.copy(root / "train" / "a" / "train_a0.png", root / "test" / "a" / "x.png")
    assert "must be in one part of the split, as 1 images lie in two" in error(root)


def test_pages_in_place_of_images_are_no_copies(tmp_path):
    root = fill(tmp_path / "x", "a", "b")
    for name in ("a/x.png", "b/y.png"):
        (root / name).write_text("<html>403</html>")
    assert len(Plugin(root, {}).table().names) == 10


def test_a_group_from_the_path(tmp_path):
    root = fill(tmp_path / "x", *(f"{c}/patient{n}" for c in "ab" for n in range(3)), count=2)
    table = Plugin(root, {"group_pattern": r"patient(\d+)"}).table()
    assert set(table.groups) == {"0", "1", "2"}
    assert "matches none" in error(root, group_pattern="lesion")


def test_a_link_to_a_folder_above(folders):
    (folders / "a" / "deep" / "up").symlink_to(folders, target_is_directory=True)
    (folders / "b" / "self").symlink_to(folders / "b", target_is_directory=True)
    data = Plugin(folders, {})
    assert len(data.table().names) == 10
    assert left_out(data) == {"links to a folder above": 2}


def test_a_link_to_another_folder_is_followed(folders, tmp_path):
    fill(tmp_path / "elsewhere", "c", first=9)
    (folders / "c").symlink_to(tmp_path / "elsewhere" / "c", target_is_directory=True)
    assert Plugin(folders, {}).table().classes == ("a", "b", "c")


def test_other_files_are_counted(folders):
    for name in ("a/1.dcm", "a/2.DCM", "b/x.gif", "b/README", "notes.xlsx"):
        (folders / name).write_bytes(b"x")
    read = [one for one in left_out(Plugin(folders, {})) if "dcm" not in one]
    assert read == [".gif files", ".xlsx files", "no ending files"]
    found = walk(folders)
    assert sum(found.others.values()) + len(found.images) == 15


def test_images_beside_the_class_folders_have_no_label(folders):
    save(folders / "loose.png", 90)
    data = Plugin(folders, {})
    assert [item.name for item in data.unlabelled] == ["loose.png"]
    assert len(data.table().names) == 10


def test_a_file_in_anothers_place_with_its_size_and_time(tmp_path):
    path = tmp_path / "x.bmp"
    save(path, 1)
    before, status = contents([path], tmp_path), path.stat()
    save(tmp_path / "y.bmp", 2)
    os.utime(tmp_path / "y.bmp", ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(tmp_path / "y.bmp", path)
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert contents([path], tmp_path) != before


@pytest.mark.parametrize("place", ["truth", "files", "metadata"])
def test_downsampled_in_any_one_file(isic, change, place):
    usual = Isic(isic, {}).table()
    old, new = "ISIC_0000004", "ISIC_0000004_downsampled"
    if place == "files":
        (isic / IMAGES / f"{old}.jpg").rename(isic / IMAGES / f"{new}.jpg")
    else:
        name = TRUTH if place == "truth" else "ISIC_2019_Training_Metadata.csv"
        change(isic / name, f"{old},", f"{new},")
    table = Isic(isic, {}).table()
    assert table.groups == usual.groups
    assert [name.removesuffix("_downsampled") for name in table.names] == [
        name.removesuffix("_downsampled") for name in usual.names
    ]


def test_one_hot_columns_of_other_names(isic, change):
    change(isic / TRUTH, "image,MEL,NV,BCC,UNK", "image,melanoma,nevus,weight,UNK")
    assert Isic(isic, {}).table().classes == ("melanoma", "nevus")


def params_of(name):
    shown = yaml.safe_load((SPACES / "data" / f"{name}.yaml").read_text())
    assert shown["defaults"][0] == "table"
    return shown["params"]


def test_ham10000(tmp_path):
    root = fill(tmp_path / "x", "HAM10000_images_part_1", "ham10000_images_part_2")
    rows = [
        f"HAM_{i // 2},{path.stem},{'mel' if i % 2 else 'nv'},histo,60,male,back,{'ab'[i % 2]}"
        for i, path in enumerate(sorted(root.rglob("*.png")))
    ]
    head = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    write_lines(root / "HAM10000_metadata.csv", [head, *rows])
    table = Table(root, params_of("ham10000")).table()
    assert (table.classes, len(set(table.groups))) == (("mel", "nv"), 4)
    assert set(table.sites) == {"a", "b"}


def test_isic2018(tmp_path):
    root, name = tmp_path / "x", "ISIC2018_Task3_Training"
    fill(root, f"{name}_Input", count=7)
    images = sorted(path.stem for path in root.rglob("*.png"))
    hot = [",".join("1.0" if i == k else "0.0" for k in range(7)) for i in range(7)]
    lesions = [f"L{i // 2},x" for i in range(7)]
    for table, head, rows in (
        ("GroundTruth", "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", hot),
        ("LesionGroupings", "image,lesion_id,diagnosis_confirm_type", lesions),
    ):
        (root / f"{name}_{table}").mkdir()
        lines = [f"{image},{row}" for image, row in zip(images, rows, strict=True)]
        write_lines(root / f"{name}_{table}" / f"{name}_{table}.csv", [head, *lines])
    table = Table(root, params_of("isic2018")).table()
    assert table.classes == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    assert table.groups == ("L0", "L0", "L1", "L1", "L2", "L2", "L3")


def test_isic2020(tmp_path):
    root = fill(tmp_path / "x", "train")
    head = "image_name,patient_id,sex,age_approx,diagnosis,benign_malignant,target"
    labels = ["malignant,1", "benign,0", "benign,0", "benign,0"]
    rows = [f"train{i},IP_{i // 2},male,45,unknown,{label}" for i, label in enumerate(labels)]
    write_lines(root / "ISIC_2020_Training_GroundTruth.csv", [head, *rows])
    table = Table(root, params_of("isic2020")).table()
    assert (table.classes, table.groups[:3]) == (("benign", "malignant"), ("IP_0", "IP_0", "IP_1"))
    (root / "ISIC_2020_Training_GroundTruth.csv").rename(root / "train.csv")
    with pytest.raises(UserError, match=r"try to set data.params.csv=train.csv"):
        Table(root, params_of("isic2020")).table()
