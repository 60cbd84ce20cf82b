"""Masks drawn by a finished segmenter: the same network, a data set as any other, bad files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from search.chains.images import masks_spec
from search.chains.node import Node
from tests.trainables import small
from tests.trainables.small import RUNTIME, quiet
from trainables.durable import file_digest
from trainables.errors import UserError
from trainables.images.cache import made_by
from trainables.images.pool import opened
from trainables.kinds import Work, classify, drawn_masks, segment
from trainables.kinds.drawn_masks import Plugin, loaded
from trainables.storage import SEGMENTER

SEGMENT = ("downstream=segment", "downstream.lr_range=[0.1]", "profile.downstream_steps=12")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A finished segmentation of the drawn lesions: its file, and its Dice."""
    folder = tmp_path_factory.mktemp("segment")
    masks = opened(masks_spec(small.space(*SEGMENT)), [None, None], folder / "cache")
    spec = replace(small.plan(data, *SEGMENT), masks=masks.digest).score(Node.parse("scratch"))
    done = segment.Plugin().run(
        Work(spec, RUNTIME, folder, quiet, {"images": data, "masks": masks})
    )
    return folder / SEGMENTER, masks, done.score.judged.value


def plan(data, file, *more):
    known = small.plan(data, f"data.masks={file}", *more)
    return replace(known, masks=file_digest(file)[:16])


def test_the_drawn_masks_are_those_that_were_judged(data, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(drawn_masks, "BLOCK", 7)  # several blocks, the last one shorter
    file, masks, dice = trained
    spec = plan(data, file).drawn()
    places = {"weights": file}
    Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, {"images": data}, {}, places))
    made = made_by(tmp_path)
    assert made.names == data.names
    assert made.images.shape == (len(data.names), *masks.images.shape[1:])
    assert {*np.unique(made.images)} <= {0, 255}
    val = data.split["val"]
    said = torch.from_numpy(made.images[val, ..., 0] > 127)
    true = torch.from_numpy(masks.images[segment.places(data, masks, val), ..., 0] > 127)
    assert 100 * segment.overlap(said, true)[:, 0].mean().item() == pytest.approx(dice, abs=0.5)


def test_a_fine_tuning_takes_them_as_its_masks(data, trained, tmp_path):
    file, _, _ = trained
    several_cells = "profile.backbone=resnet10_small"
    known = plan(data, file, "downstream.lr_range=[0.01]", several_cells)
    drawn, *_, score = known.graph(Node.parse("odc"))
    assert (drawn.kind, score.inputs["masks"]) == ("drawn_masks", drawn.key())
    assert "masks" not in score.data
    assert known.places(drawn)["weights"] == str(file)
    other = replace(known, masks="f" * 16)
    assert other.score(Node.parse("odc")).key() != score.key(), "another file, other masks"
    assert other.stages(Node.parse("odc")) == known.stages(Node.parse("odc"))
    made = replace(data, images=np.full((len(data.names), 8, 8, 1), 255, np.uint8))
    score = known.score(Node.parse("scratch"))
    done = classify.Plugin().run(
        Work(score, RUNTIME, tmp_path, quiet, {"images": data, "masks": made})
    )
    assert done.score.measures["region_area"].value == pytest.approx(100)
    assert segment.Plugin().check(replace(score, kind="segment"), {}) is None


def test_another_file_is_refused_in_one_line(trained, tmp_path):
    file, _, _ = trained
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "backbone.safetensors")
    for path in (tmp_path / "backbone.safetensors", tmp_path / "absent.safetensors"):
        with pytest.raises(UserError, match="must be a file that a segmentation wrote; try"):
            loaded(path, 3)
    with pytest.raises(UserError, match="must be for images of 1 channels, and is for 3; try"):
        loaded(file, 1)
