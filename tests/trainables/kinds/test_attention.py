"""Attention inside a region: known answers, images without a mask, labels, the fine-tuning."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.backbone import Backbone
from trainables.downstream import attention
from trainables.downstream.attention import (
    ATTENTION,
    COLUMNS,
    Attention,
    attend,
    fraction_inside,
    most_inside,
)
from trainables.downstream.classifier import Classifier, Recipe, made
from trainables.errors import UserError
from trainables.images.cache import Prepared, Source
from trainables.images.masks import masks_of
from trainables.kinds import Work
from trainables.kinds.classify import Plugin, check_objective
from trainables.training.loop import context

TWO_CELLS = "profile.backbone=resnet10_small"  # a side of its maps, for views of 32 px


def masks(data: Prepared, mask: np.ndarray, rows: np.ndarray | None = None) -> Prepared:
    """The same mask for all images, or for some rows."""
    rows = np.arange(len(data.names)) if rows is None else rows
    side = data.images.shape[1]
    pixels = np.broadcast_to(255 * mask.astype(np.uint8), (len(rows), side, side))[..., None]
    return replace(data, images=pixels, names=tuple(data.names[i] for i in rows))


@pytest.fixture(scope="module")
def task(data) -> Classifier:
    return classifier(data, TWO_CELLS)


def classifier(data: Prepared, *more: str) -> Classifier:
    spec = small.plan(data, *more).score(Node.parse("scratch"))
    index = data.split["train"]
    torch.manual_seed(1)
    known = context(spec, len(index), data.mean, data.std, repeated=True)
    labels = torch.from_numpy(data.labels[index])
    network = Backbone(spec.trained.backbone, known.channels)
    return made(network, known, labels, len(data.classes), Recipe()).eval()


def looked(task: Classifier, data: Prepared, region: Prepared | None) -> Attention:
    backbone = small.space(TWO_CELLS).profile.backbone
    return attend(task, data, region, backbone, 0, RUNTIME)


def test_a_mask_of_the_whole_image_holds_all_attention(task, data):
    found = looked(task, data, masks(data, np.ones(data.images.shape[1:3], bool))).measures(data)
    for name in ("ail", "ail_true", "region_area", "ail_most", "ail_random"):
        one = found[name]
        assert (one.value, one.low, one.high) == pytest.approx((100, 100, 100), abs=1e-3)
    assert found["ail_ratio"].value == pytest.approx(1)
    assert found["accuracy_outside_blanked"].value == found["accuracy_whole"].value


def test_an_even_map_has_the_area_of_the_region_and_a_corner_its_own():
    inside = torch.zeros(2, 8, 8)
    inside[:, :4, :6] = 1
    corner = torch.zeros(2, 8, 8)
    corner[0, 0, 0], corner[1, 7, 7] = 3, 0.5
    assert fraction_inside(torch.ones(2, 4, 4), inside).tolist() == pytest.approx([24 / 64] * 2)
    assert fraction_inside(corner, inside).tolist() == [1, 0]
    assert fraction_inside(torch.zeros(1, 4, 4), inside[:1]).isnan().all()


def test_no_map_of_the_same_cells_has_more_inside_than_its_best_cell():
    """Two by two cells can't tell a region in the middle from the whole; sixteen can."""
    inside = torch.zeros(1, 64, 64)
    inside[:, 12:44, 16:48] = 1
    coarse, fine = (most_inside(torch.ones(1, k, k), inside).item() for k in (2, 16))
    assert 0.25 < coarse < 0.35, "a cell is a quarter of the image, of which this is a quarter"
    assert fine == pytest.approx(1)
    maps = torch.rand(500, 2, 2, generator=torch.manual_seed(0)) ** 8
    found = fraction_inside(maps, inside.expand(500, -1, -1))
    assert coarse - 0.02 < found.max().item() <= coarse + 1e-6


def test_inside_and_outside_add_up_and_without_masks_the_region_is_the_centre(task, data):
    side = data.images.shape[1]
    ring = np.zeros((side, side), bool)
    ring[side // 8 : -(side // 8), side // 8 : -(side // 8)] = True
    inner, outer = looked(task, data, masks(data, ring)), looked(task, data, masks(data, ~ring))
    both = inner.values[:, 0] + outer.values[:, 0]
    assert both[np.isfinite(both)] == pytest.approx(1, abs=1e-5)
    assert np.isfinite(both).sum() > 5
    blanked = [COLUMNS.index(f"accuracy_{part}_blanked") for part in ("inside", "outside")]
    assert inner.values[:, blanked[0]] == pytest.approx(outer.values[:, blanked[1]])
    plain = looked(task, data, None)
    assert plain.values == pytest.approx(inner.values, abs=1e-5, nan_ok=True)
    assert plain.measures(data)["region_area"].value == pytest.approx(56.25)


def test_a_map_of_one_cell_explains_nothing(data):
    found = attend(classifier(data), data, None, small.space().profile.backbone, 0, RUNTIME)
    assert (len(found.rows), found.measures(data)) == (0, {})


def test_images_without_a_mask_are_left_out_and_maps_of_zeros_counted(task, data):
    val = data.split["val"]
    whole = np.ones(data.images.shape[1:3], bool)
    found = looked(task, data, masks(data, whole, val[::2]))
    assert found.rows.tolist() == list(range(0, len(val), 2))
    assert looked(task, data, masks(data, whole, data.split["train"])).measures(data) == {}
    values = np.full((4, len(COLUMNS)), 0.5)
    values[0, 0] = np.nan
    values[1, 0] = 0.8
    some = Attention(np.arange(4), values, np.zeros((4, 2, 1, 1), np.float16)).measures(data)
    assert some["empty_maps"].value == 25
    assert some["ail"].value == pytest.approx(60), "the mean over the three that look somewhere"
    assert some["ail_ratio"].value == pytest.approx(1.2)


def test_intervals_resample_patients(data):
    """Two patients that differ, with images that do not: their number does not count."""
    val, groups = data.split["val"], np.asarray(data.groups, object)
    groups[val] = np.where(np.arange(len(val)) % 2, "a", "b")
    values = np.full((len(val), len(COLUMNS)), 0.5)
    values[::2, 0] = 0.1
    found = Attention(np.arange(len(val)), values, np.zeros((len(val), 2, 1, 1), np.float16))
    one = found.measures(replace(data, groups=tuple(groups)))["ail"]
    assert (one.low, one.high) == (pytest.approx(10), pytest.approx(50))


def test_a_blanked_region_is_the_mean_of_the_images(task, data):
    """The answers are those to images that were painted before."""
    side = data.images.shape[1]
    left = np.zeros((side, side), bool)
    left[:, : side // 2] = True
    found = looked(task, data, masks(data, left))
    val = data.split["val"]
    painted = data.images[val].astype(np.float32)
    painted[:, left] = 255 * np.array(data.mean, np.float32)
    with torch.no_grad():
        view = task.full(torch.from_numpy(painted).permute(0, 3, 1, 2))
        answers = task.head(task.backbone(view)).argmax(1).numpy()
    right = found.values[:, COLUMNS.index("accuracy_inside_blanked")]
    assert np.mean(right == (answers == data.labels[val])) > 0.95, "but at the edge of the views"


def test_of_several_labels_the_likeliest_true_one_is_explained(data):
    spec = small.plan(data, TWO_CELLS).score(Node.parse("scratch"))
    labels = np.eye(3, dtype=np.int64)[data.labels % 3]
    labels[data.split["val"][0]] = 0
    several = replace(data, labels=labels, classes=("a", "b", "c"))
    index = data.split["train"]
    known = context(spec, len(index), data.mean, data.std, repeated=True)
    network = Backbone(spec.trained.backbone, known.channels)
    many = made(network, known, torch.from_numpy(labels[index]), 3, Recipe()).eval()
    found = looked(many, several, None)
    assert np.isnan(found.values[0, COLUMNS.index("ail_true")])
    assert not found.maps[0, 1].any()
    whole = found.values[:, COLUMNS.index("accuracy_whole")]
    assert np.isnan(whole[0]), "no answer is right of an image without a label"
    val = several.split["val"][found.rows]
    with torch.no_grad():
        views = many.full(torch.from_numpy(several.images[val]).permute(0, 3, 1, 2).float())
        likeliest = many.head(many.backbone(views)).argmax(1).numpy()
    right = labels[val, likeliest][1:]
    assert 0 < right.mean() < 1
    assert whole[1:].tolist() == right.tolist()
    assert {"accuracy_inside_blanked", "accuracy_outside_blanked"} <= {*found.measures(several)}


def test_a_fine_tuning_measures_it_and_keeps_the_maps(data, tmp_path):
    plan = replace(small.plan(data, TWO_CELLS, "downstream.lr_range=[0.01]"), masks="m" * 16)
    spec = plan.score(Node.parse("scratch"))
    assert (spec.data["masks"].digest, spec.data["masks"].spec.masks) == ("m" * 16, True)
    source = Source(spec.data["images"].spec, None)
    region = masks_of(source, None).opened(tmp_path / "cache")
    done = Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data, "masks": region}))
    assert ATTENTION.keys() <= done.score.measures.keys()
    assert 0 < done.score.measures["ail"].value < 100
    kept = np.load(tmp_path / attention.FILE)
    told = pq.read_table(tmp_path / "val.parquet")
    assert kept["rows"].tolist() == list(range(len(told)))
    assert kept["maps"].shape[:2] == (len(told), 2)
    assert json.loads((tmp_path / "meta.json").read_text())["classes"] == list(data.classes)
    area = [
        (region.images[region.names.index(name)] / 255).mean() for name in told["image"].to_pylist()
    ]
    assert kept["values"][:, COLUMNS.index("region_area")] == pytest.approx(area, abs=0.02)


def test_attention_is_no_objective():
    with pytest.raises(UserError, match=r"downstream\.objective=ail: must be one of balanced_acc"):
        check_objective("ail", many=False)
