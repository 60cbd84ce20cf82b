"""Backbones: the list of architectures is true; statistics of all layers as a slow oracle's."""

import copy

import pytest
import torch
from torch import nn

from trainables.architectures import ARCHITECTURES
from trainables.backbone import (
    Backbone,
    fit_statistics,
    group_batch_norm,
    untracked,
    update_statistics,
)

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_list_knows_how_large_the_weights_are(name):
    with torch.device("meta"):
        state = Backbone(name).net.state_dict()
    size = sum(tensor.nbytes for tensor in state.values())
    assert ARCHITECTURES[name].megabytes << 20 == pytest.approx(size, rel=0.05)


class Twice(nn.Module):
    """Three layers, all of them called twice in a forward pass, with batches of two sizes."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3, eps=0.1, momentum=0.3)
        self.last = nn.BatchNorm1d(3)

    def forward(self, x):
        return torch.cat([self.last(self.two(self.one(x) ** 2).mean((2, 3))) for x in x.split(16)])


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_running_statistics_equal_those_of_a_network_for_each_part(parts):
    """The oracle: torch's own layers on each part; what they learn is averaged."""
    torch.manual_seed(0)
    ours = Twice()
    slow = [copy.deepcopy(ours) for _ in range(parts)]
    group_batch_norm(ours, parts)
    for _ in range(2):
        x = torch.randn(24, 3, 5, 5) * 3 + 1
        both = [x[:16].chunk(parts), x[16:].chunk(parts)]
        outs = []
        for own, large, small in zip(slow, *both, strict=True):
            cut = {0: large, 1: small}
            outs.append([own.last(own.two(own.one(cut[k]) ** 2).mean((2, 3))) for k in cut])
        expected = torch.cat([torch.cat(some) for some in zip(*outs, strict=True)])
        torch.testing.assert_close(ours(x), expected)
    state, means = ours.state_dict(), [own.state_dict() for own in slow]
    for name in state:
        if name.endswith(STATISTICS):
            mean = torch.stack([one[name].double() for one in means]).mean(0)
            torch.testing.assert_close(state[name].double(), mean, rtol=1e-6, atol=1e-6)


def test_an_untracked_encoder_computes_the_same_and_keeps_its_statistics():
    ours = Twice()
    theirs = untracked(copy.deepcopy(ours))
    before = copy.deepcopy(theirs.state_dict())
    for one in (ours, theirs):
        group_batch_norm(one, 4)
    x = torch.randn(24, 3, 5, 5)
    assert torch.equal(ours(x), theirs(x))
    assert all(torch.equal(value, before[name]) for name, value in theirs.state_dict().items())
    assert not torch.equal(ours.one.running_mean, before["one.running_mean"])


def test_statistics_are_fitted_through_a_part_of_the_network_too():
    """By the layers themselves: the hook of the whole network does not see such calls."""
    ours = Twice()
    group_batch_norm(ours, 2)
    batches = [torch.randn(8, 3, 5, 5) + k for k in range(3)]
    fit_statistics(ours, ours.one, batches)
    mean = torch.cat(batches).mean((0, 2, 3))
    torch.testing.assert_close(ours.one.running_mean, mean, rtol=1e-5, atol=1e-5)
    update_statistics(ours.one.seen)
    torch.testing.assert_close(ours.one.running_mean, mean, rtol=1e-5, atol=1e-5)
