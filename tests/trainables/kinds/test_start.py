"""A start: a weight file becomes a stage's backbone, or is refused."""

import pytest
import torch
from safetensors.torch import load_file
from torchvision.models.resnet import BasicBlock, ResNet

from tests.trainables.small import RUNTIME, quiet
from trainables.backbone import WEIGHTS as FILE
from trainables.backbone import Backbone
from trainables.errors import UserError
from trainables.kinds import Work
from trainables.kinds.start import Plugin, load
from trainables.spec import WEIGHTS, StageSpec


def test_a_start_holds_the_weights_of_the_file_and_refuses_one_that_does_not_fit(tmp_path):
    whole, file = ResNet(BasicBlock, [1, 1, 1, 1]), tmp_path / "imagenet.pth"
    torch.save(whole.state_dict(), file)
    params = {"sha256": "w", "backbone": "resnet10", "channels": 3}
    spec = StageSpec("start", "imagenet", params, "1", None, {}, {}, 0)
    Plugin().run(Work(spec, RUNTIME, tmp_path, quiet, places={WEIGHTS: file}))
    made, expected = load_file(tmp_path / FILE), whole.state_dict()
    assert made.keys() == {key for key in expected if not key.startswith("fc.")}
    assert all(torch.equal(made[key], expected[key]) for key in made)
    with pytest.raises(UserError, match=r"starts\.imagenet=.*pth: must fit profile\.backbone"):
        load(Backbone("resnet18"), file, "imagenet")
