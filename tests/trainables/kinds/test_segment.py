"""Segmentation: known overlaps, a decoder on any backbone, images and masks moved alike."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from search.chains.images import masks_spec
from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.backbone import Backbone
from trainables.downstream.unet import Segmenter, finer
from trainables.errors import UserError
from trainables.images.cache import Prepared, Source
from trainables.images.masks import masks_of
from trainables.images.pool import opened
from trainables.kinds import Work
from trainables.kinds.segment import Plugin, check_parts, overlap, score
from trainables.task import Batch, Draw
from trainables.training.loop import context

SEGMENT = ("downstream=segment", "downstream.lr_range=[0.1]", "profile.downstream_steps=12")


@pytest.fixture(scope="module")
def masks(data, tmp_path_factory):
    """Those of the drawn lesions, as a worker opens them."""
    folder = tmp_path_factory.mktemp("cache")
    found = opened(masks_spec(small.space(*SEGMENT)), [None, None], folder)
    size = small.space(*SEGMENT).profile.image_size
    own = masks_of(
        Source(small.plan(data).stages(Node.parse("odc"))[0].data["pool"].spec, None), None, size
    )
    assert own.digest(folder) == found.digest, "the driver's digest is the worker's"
    return found


def spec(data, masks):
    return replace(small.plan(data, *SEGMENT), masks=masks.digest).score(Node.parse("scratch"))


def test_overlaps_have_known_answers():
    said, true = torch.zeros(4, 4, 4, dtype=torch.bool), torch.zeros(4, 4, 4, dtype=torch.bool)
    said[0, :2] = true[0, :2] = True
    said[1, :2], true[1, 1:3] = True, True
    said[2, 0], true[2, 3] = True, True
    expected = [[1, 1], [0.5, 1 / 3], [0, 0], [1, 1]]
    assert overlap(said, true).numpy() == pytest.approx(np.array(expected)), "both empty agree"


def test_a_score_is_the_mean_over_images_with_an_interval_over_patients(data):
    val = data.split["val"][:4]
    groups = np.asarray(data.groups, object)
    groups[val] = ["a", "a", "a", "b"]
    found = np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8], [0.1, 0.0]])
    dice = score("dice", replace(data, groups=tuple(groups)), val, found).judged
    assert (dice.value, dice.low, dice.high) == (
        pytest.approx(70),
        pytest.approx(10),
        pytest.approx(90),
    )


@pytest.mark.parametrize(
    ("name", "sides"),
    [("resnet10", [32, 16, 8, 4]), ("convnext_atto", [16, 8, 4]), ("vit_tiny_patch16_224", [])],
)
def test_the_finer_maps_of_a_backbone_are_found(name, sides):
    net = Backbone(name, 1).net
    seen = {}
    handles = [
        net.get_submodule(one).register_forward_hook(
            lambda _m, _i, out, one=one: seen.update({one: out.shape})
        )
        for one in finer(net, 1, 64)
    ]
    with torch.no_grad():
        net(torch.zeros(1, 1, 64, 64))
    assert [seen[one][-1] for one in finer(net, 1, 64)] == sides
    assert all(seen[one][1] == width for one, width in finer(net, 1, 64).items() if one in seen)
    assert handles or not sides


def test_the_decoder_learns_at_a_rate_of_its_own(data, masks):
    known = context(spec(data, masks), 8, data.mean, data.std, repeated=True)
    task = Segmenter(Backbone("resnet10", 3), known, data.images.__getitem__, 10.0)
    rates = {id(p): g["lr_scale"] for g in task.parameter_groups() for p in g["params"]}
    assert {rates[id(p)] for p in task.backbone.parameters()} == {1.0}
    assert {rates[id(p)] for p in task.head.parameters()} == {10.0}
    assert spec(data, masks).params["head_lr"] == 10


@pytest.mark.parametrize("name", ["resnet10", "convnext_atto", "mobilenetv3_small_050"])
def test_all_that_is_trained_has_a_gradient(data, masks, name):
    """DDP refuses a parameter without, such as those after the pooling."""
    known = context(spec(data, masks), 8, data.mean, data.std, repeated=True)
    images = torch.arange(8 * 3 * 64 * 64).remainder(251).to(torch.uint8).view(8, 3, 64, 64)
    task = Segmenter(Backbone(name, 3), known, images[:, :1].__getitem__).train()
    task(Batch(images, torch.arange(8), Draw(0, 0, 8, "cpu"), 0))[0].backward()
    assert all(p.grad is not None for p in task.parameters() if p.requires_grad)
    frozen = [p for p in task.backbone.parameters() if not p.requires_grad]
    assert bool(frozen) == (name != "resnet10")


def test_images_and_masks_are_moved_alike(data, masks):
    """A mask that is the image itself stays the image itself."""
    known = context(spec(data, masks), 8, data.mean, data.std, repeated=True)
    grey = torch.arange(8 * 96 * 96).remainder(251).to(torch.uint8).view(8, 1, 96, 96)
    task = Segmenter(Backbone("resnet10", 3), known, grey.__getitem__)
    both = torch.cat([grey.expand(-1, 3, -1, -1), grey], 1).float()
    moved = task._moved(both, Draw(0, 0, 8, "cpu"))
    assert torch.equal(moved[:, 0], moved[:, 3])
    assert not torch.equal(moved[0], moved[1])
    loss, metrics = task(
        Batch(grey.expand(-1, 3, -1, -1), torch.arange(8), Draw(0, 0, 8, "cpu"), 0)
    )
    assert torch.isfinite(loss)
    assert 0 <= metrics["accuracy"] <= 1


def test_views_have_the_frequencies_of_evaluated_images(data, masks):
    """White noise: a view of half to all of an image keeps as much energy as an evaluated image."""
    known = context(spec(data, masks), 16, data.mean, data.std, repeated=True)
    noise = torch.randint(256, (16, 3, 96, 96), generator=torch.manual_seed(0), dtype=torch.uint8)
    task = Segmenter(Backbone("resnet10", 3), known, noise[:, :1].__getitem__)
    views = []
    task.logits = lambda given: views.append(given) or given[:, 0]
    task(Batch(noise, torch.arange(16), Draw(0, 0, 16, "cpu"), 0))
    kept = float(views[0].var() / task.full(noise).var())
    assert kept == pytest.approx(1.1, abs=0.2), "a part of an image has more; 8 with aliases"


def test_a_fine_tuning_finds_the_lesions(data, masks, tmp_path):
    roles = {"images": data, "masks": masks}
    done = Plugin().run(Work(spec(data, masks), RUNTIME, tmp_path, quiet, roles))
    for part in ("val", "test"):
        told = pq.read_table(tmp_path / f"overlaps_{part}.parquet")
        assert told["image"].to_pylist() == [data.names[i] for i in data.split[part]]
        assert told["group"].to_pylist() == [data.groups[i] for i in data.split[part]]
        dice = told["dice"].to_numpy()
        assert told["iou"].to_numpy() == pytest.approx(dice / (2 - dice), abs=1e-6)
    dice = 100 * pq.read_table(tmp_path / "overlaps_val.parquet")["dice"].to_numpy()
    assert done.score.judged.value == pytest.approx(dice.mean(), abs=1e-3)
    area = (masks.images / 255).mean()
    guess = 2 * area / (1 + area)
    assert done.score.judged.value > 100 * guess - 5, "all inside would have this"
    assert done.score.measures["iou"].value < done.score.measures["dice"].value


def test_only_the_masks_of_a_batch_are_read(data, masks, tmp_path, monkeypatch):
    """Of a million images they would take 9 GB at 96 px."""
    read, take = [], Prepared.take

    def watched(self, rows, out):
        read.extend([len(rows)] if self is masks else [])
        take(self, rows, out)

    monkeypatch.setattr(Prepared, "take", watched)
    own = spec(data, masks)
    Plugin().run(Work(own, RUNTIME, tmp_path, quiet, {"images": data, "masks": masks}))
    batch, judged = own.trained.global_batch, max(len(data.split[k]) for k in ("val", "test"))
    assert {batch} < {*read}
    assert max(read) <= max(batch, judged) < len(data.split["train"])


def test_without_a_mask_in_test_there_is_nothing_to_score_there(data, masks, tmp_path):
    some = [k for k, name in enumerate(masks.names) if name not in _names(data, "test")]
    fewer = replace(masks, images=masks.images[some], names=tuple(masks.names[k] for k in some))
    roles = {"images": data, "masks": fewer}
    Plugin().run(Work(spec(data, masks), RUNTIME, tmp_path, quiet, roles))
    assert [one.name for one in tmp_path.glob("overlaps_*")] == ["overlaps_val.parquet"]


def _names(data, part):
    return {data.names[i] for i in data.split[part]}


def test_without_masks_it_is_refused(data):
    bare = small.plan(data, *SEGMENT).score(Node.parse("scratch"))
    with pytest.raises(UserError, match=r"downstream\.kind=segment: must have masks"):
        Plugin().check(bare, {})
    with pytest.raises(UserError, match="must have a mask of an image in val"):
        check_parts(np.arange(3), np.arange(0))
