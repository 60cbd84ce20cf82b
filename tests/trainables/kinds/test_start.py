"""A start: a weight file becomes a stage's backbone, or is refused."""

import pytest
import torch
from safetensors.torch import load_file
from torchvision.models.resnet import BasicBlock, ResNet

from tests.trainables.small import RUNTIME, quiet
from trainables.backbone import WEIGHTS as FILE
from trainables.backbone import Backbone
from trainables.durable import file_digest
from trainables.errors import UserError
from trainables.kinds import Work
from trainables.kinds.start import Plugin, load
from trainables.spec import WEIGHTS, StageSpec


def test_a_start_holds_the_weights_of_the_file_and_refuses_one_that_does_not_fit(tmp_path):
    whole, file = ResNet(BasicBlock, [1, 1, 1, 1]), tmp_path / "imagenet.pth"
    torch.save(whole.state_dict(), file)
    params = {"sha256": file_digest(file)[:16], "backbone": "resnet10", "channels": 3}
    spec = StageSpec("start", "imagenet", params, "1", None, {}, {}, 0)
    Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, places={WEIGHTS: file}))
    made, expected = load_file(tmp_path / FILE), whole.state_dict()
    assert made.keys() == {key for key in expected if not key.startswith("fc.")}
    assert all(torch.equal(made[key], expected[key]) for key in made)
    with pytest.raises(UserError, match=r"starts\.imagenet=.*pth: must fit profile\.backbone"):
        load(Backbone("resnet18"), file, "imagenet")


def test_a_file_that_is_not_the_drivers_is_refused_where_it_is_read(tmp_path):
    """Else another node's file, or one replaced meanwhile, would be stored under a wrong key."""
    file = tmp_path / "imagenet.pth"
    torch.save(Backbone("resnet10").net.state_dict(), file)
    params = {"sha256": "0" * 16, "backbone": "resnet10", "channels": 3}
    spec = StageSpec("start", "imagenet", params, "1", None, {}, {}, 0)
    with pytest.raises(UserError, match=r"imagenet\.pth: must be the same file on every node"):
        Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, places={WEIGHTS: file}))
    assert not (tmp_path / FILE).exists()


def test_a_file_with_more_than_the_backbone_says_how_many_tensors_are_too_many(tmp_path):
    file = tmp_path / "imagenet.pth"
    torch.save(Backbone("resnet10").net.state_dict() | {"more": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"\(1 of its and the file's tensors differ, first more\)"):
        load(Backbone("resnet10"), file, "imagenet")
