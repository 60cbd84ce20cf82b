"""Backbones: what the list of architectures says of each is true."""

import pytest
import torch

from trainables.architectures import ARCHITECTURES
from trainables.backbone import Backbone


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_list_knows_how_large_the_weights_are(name):
    with torch.device("meta"):
        state = Backbone(name).net.state_dict()
    size = sum(tensor.nbytes for tensor in state.values())
    assert ARCHITECTURES[name].megabytes << 20 == pytest.approx(size, rel=0.05)
