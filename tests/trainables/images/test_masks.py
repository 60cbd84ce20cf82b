"""Masks of images: found by name, from folders and run-lengths, fitted as their images are."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import Dataset
from trainables.data.demo import Plugin as Demo
from trainables.data.table import Plugin
from trainables.errors import UserError
from trainables.images import pool
from trainables.images.cache import Source, open_cache
from trainables.images.masks import masks_of
from trainables.spec import DataSpec

SIZES = {"a.1": (40, 20), "b": (20, 40), "c": (30, 30), "d": (30, 30), "e": (30, 30), "f": (30, 30)}
PARAMS = {"csv": "labels.csv", "images": "images", "image_column": "image", "label_column": "label"}


def mask(name: str) -> np.ndarray:
    """The left half, but for a line at the top."""
    width, height = SIZES[name]
    found = np.zeros((height, width), bool)
    found[2:, : width // 2] = True
    return found


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name, (width, height) in SIZES.items():
        noise = rng.integers(0, 255, (height, width), np.uint8)
        save(tmp_path / "set" / "images" / f"{name}.png", noise)
        save(
            tmp_path / "set" / "lung_masks" / f"{name}_mask.png", 255 * mask(name).astype(np.uint8)
        )
    rows = "".join(f"{name},{'xy'[k % 2]}\n" for k, name in enumerate(SIZES))
    (tmp_path / "set" / "labels.csv").write_text("image,label\n" + rows)
    return tmp_path / "set"


def data(root: Path) -> Dataset:
    found = Plugin(root, {**PARAMS, "group_column": None})
    found.table()
    return found


def spec(**more: object) -> DataSpec:
    params = {**PARAMS, "group_column": None}
    return DataSpec("table", params, 16, 1, 0.34, 0.33, 0, **more)


def rle(found: np.ndarray) -> str:
    """Encode slowly: start from 1 and length of each run, row by row."""
    runs, flat = [], found.ravel()
    for at, inside in enumerate(flat):
        if inside and (at == 0 or not flat[at - 1]):
            runs.append([at + 1, 0])
        if inside:
            runs[-1][1] += 1
    return " ".join(str(number) for run in runs for number in run)


def test_masks_beside_the_images_are_found_by_name(root):
    (root / "lung_masks" / "b_mask.png").unlink()
    save(root / "lung_masks" / "elsewhere_mask.png", np.full((5, 5), 255, np.uint8))
    found = data(root)
    regions = found.regions()
    assert sorted(regions.sources) == [0, 2, 3, 4, 5]
    assert np.array_equal(regions.read(0), mask("a.1"))
    assert found.notes.sentences[-1] == "5 of 6 images have a mask in lung_masks"
    assert found.notes.names["masks of no image, or of several"] == ["elsewhere_mask"]


def test_several_masks_of_an_image_are_united_and_few_levels_are_labels(root):
    left = np.zeros((30, 30), np.uint8)
    left[:, :5] = 1
    save(root / "lung_masks" / "c_mask.png", left)
    save(root / "lung_masks" / "right" / "c.png", np.rot90(left, 2) * 2)
    read = data(root).regions().read(2)
    assert read[:, :5].all()
    assert read[:, -5:].all()
    assert read.sum() == 300


def test_run_lengths_of_two_lungs_are_united_and_poor_ones_left_out(root, tmp_path):
    rows = ["Image Index,Dice RCA (Mean),Landmarks,Left Lung,Right Lung,Heart,Height,Width"]
    for name in ("a.1", "b", "c"):
        whole = mask(name)
        upper, lower = whole.copy(), whole.copy()
        upper[8:], lower[:8] = False, False
        quality = 0.4 if name == "c" else 0.9
        width, height = SIZES[name]
        cells = [f"{name}.png", quality, '"[1, 2]"', rle(upper), rle(lower), "1 9", height, width]
        rows.append(",".join(map(str, cells)))
    path = tmp_path / "ChestX-Ray8.csv"
    path.write_text("\n".join(rows) + "\n")
    found = data(root)
    regions = found.regions(path)
    assert sorted(regions.sources) == [0, 1]
    for row, name in enumerate(("a.1", "b")):
        assert np.array_equal(regions.read(row), mask(name))
    assert found.notes.names["masks whose Dice RCA (Mean) is below 0.7"] == ["c.png"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,label\na,b\n", "must have the columns image, Height, Width and run-lengths"),
        ("image,mask,Height,Width\nzz,1 2,3,4\n", "must hold masks of the images"),
    ],
)
def test_a_file_without_masks_is_refused(root, tmp_path, text, said):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        data(root).regions(path)


@pytest.mark.parametrize(
    ("row", "came"),
    [
        ("b,790 20,40,20", "a run of 20 from 790, of 800"),
        ("b,0 5,40,20", "a run of 5 from 0, of 800"),
        ("b,5 -2,40,20", "a run of -2 from 5, of 800"),
        ("b,1 2 3,40,20", "cannot reshape array of size 3"),
        ("b,1 x,40,20", "invalid literal for int"),
        ("b,1 9999999999999999999999,40,20", "int too large"),
        ("b,1 2,0,20", "Height 0, Width 20"),
        ("b,1 2,4000000,2000000", "Height 4000000, Width 2000000"),
        ("b,1 2,tall,20", "invalid literal for int"),
    ],
)
def test_runs_that_do_not_fit_name_file_and_image(root, tmp_path, row, came):
    path = tmp_path / "x.csv"
    path.write_text(f"image,mask,Height,Width\n{row}\n")
    with pytest.raises(UserError) as caught:
        data(root).regions(path).read(1)
    said = str(caught.value)
    assert said.startswith(f"data.masks={path}, b: must have run-lengths inside Height x Width (")
    assert came in said


def test_a_run_may_end_with_the_image_and_be_empty(root, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("image,mask,Height,Width\nb,1 0 800 1,40,20\n")
    found = data(root).regions(path).read(1)
    assert np.flatnonzero(found).tolist() == [799]


def test_a_quality_that_is_no_number_is_refused(root, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("image,mask,Height,Width,Dice RCA (Mean)\nb,1 2,40,20,good\n")
    with pytest.raises(UserError, match=r"must be a readable CSV file \(.*good"):
        data(root).regions(path)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_masks_are_fitted_as_their_images_are(root, tmp_path, fit):
    """An image that is white inside its mask, decoded, is the mask, decoded."""
    for name in SIZES:
        save(root / "images" / f"{name}.png", 255 * mask(name).astype(np.uint8))
    source = Source(spec(fit=fit), root)
    found = masks_of(source, None).opened(tmp_path / "cache")
    assert found.images.shape == (6, 16, 16, 1)
    assert np.array_equal(found.images, open_cache(source.prepare(tmp_path / "cache")).images)
    assert found.split.keys() == {"train", "val", "test"}
    again = pool.opened(spec(fit=fit, masks=True), [root, None], tmp_path / "cache")
    assert again.digest == found.digest


def test_a_border_that_is_cut_from_the_image_is_cut_from_the_mask(root, tmp_path):
    rng = np.random.default_rng(0)
    framed = np.zeros((60, 60), np.uint8)
    framed[12:48, 12:48] = rng.integers(60, 200, (36, 36))
    inside = np.zeros((60, 60), np.uint8)
    inside[12:48, 12:30] = 255
    save(root / "images" / "c.png", framed)
    save(root / "lung_masks" / "c_mask.png", inside)
    found = masks_of(Source(spec(trim=True), root), None).opened(tmp_path / "cache")
    row = found.names.index("c") if "c" in found.names else found.names.index("c.png")
    assert (found.images[row, :, :7, 0] > 250).all()
    assert (found.images[row, :, 9:, 0] < 5).all()


def test_the_digest_knows_the_masks_and_that_of_the_images_does_not(root, tmp_path):
    source = Source(spec(), root)
    before, images = masks_of(source, None).digest(tmp_path), source.digest(tmp_path)
    save(root / "lung_masks" / "c_mask.png", np.full((30, 30), 255, np.uint8))
    source = Source(spec(), root)
    assert source.digest(tmp_path) == images
    assert masks_of(source, None).digest(tmp_path) != before


def test_masks_of_other_proportions_are_refused(root, tmp_path):
    save(root / "lung_masks" / "b_mask.png", np.full((30, 30), 255, np.uint8))
    with pytest.raises(UserError, match=r"must have the image's proportions \(20 x 40 px\)"):
        masks_of(Source(spec(), root), None).opened(tmp_path)


@pytest.mark.parametrize("trim", [False, True])
def test_the_mask_of_a_damaged_image_harms_nothing(root, tmp_path, trim):
    (root / "images" / "c.png").write_bytes(b"no image")
    found = masks_of(Source(spec(trim=trim), root), None).opened(tmp_path / "cache")
    assert len(found.names) == 6


def test_without_masks_there_are_none(root):
    shutil.rmtree(root / "lung_masks")
    assert data(root).regions() is None
    with pytest.raises(UserError, match="must be a folder of masks, or a CSV file"):
        data(root).regions(root / "nowhere")


def test_drawn_lesions_are_masks_that_are_not_drawn_twice(monkeypatch):
    drawn = Demo(None, {"n": 24, "size": 32})
    drawn.table()
    alone = drawn.regions().read(3)
    drawn.read(3)
    monkeypatch.setattr(Demo, "_picture", None)
    assert np.array_equal(drawn.regions().read(3), alone)
