"""Optimisers and the schedule against values worked out by hand."""

import math

import pytest
import torch

from trainables.training import optimisers as optim


def test_warm_up_is_linear_then_half_a_cosine_to_zero():
    rates = [optim.factor(step, 10, 0.2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_a_rate_that_does_not_decay_stays_at_its_peak_after_the_warm_up():
    assert [optim.factor(step, 10, 0.2, decays=False) for step in range(10)] == [0.5] + 9 * [1.0]


def test_layer_decay_multiplies_what_a_group_already_has():
    stem, block, head = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    groups = [{"params": [stem, block]}, {"params": [head], "lr_scale": 10.0}]
    found = optim.layer_decayed(groups, [[stem], [block]], 0.5)
    assert [(*one["params"], one["lr_scale"]) for one in found] == [
        (stem, 0.25), (block, 0.5), (head, 10.0),
    ]  # fmt: skip


def test_lars_scales_each_tensor_by_its_own_norms():
    """|w| = 5, |g| = 2: the rate is 0.1 * 0.001 * 5 / (2 + 0.01 * 5); twice, with momentum 0.9."""
    w, zero = torch.tensor([3.0, 4.0], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = optim.build("lars", [w, zero], 0.1, 0.01)
    w.grad, zero.grad = torch.tensor([2.0, 0.0]), torch.tensor([7.0])
    optimizer.step()
    scale = 0.001 * 5 / (2 + 0.05)
    move = torch.tensor([2.03, 0.04]) * scale
    torch.testing.assert_close(w.detach(), torch.tensor([3.0, 4.0]) - 0.1 * move)
    torch.testing.assert_close(zero.detach(), torch.tensor([-0.7]))
    before = w.detach().clone()
    w.grad = None
    optimizer.step()
    assert torch.equal(w.detach(), before)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_every_optimiser_goes_downhill(name):
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = optim.build(name, [x], 10.0 if name == "lars" else 0.1, 0.0)
    first = x.square().sum().item()
    for _ in range(20):
        optimizer.zero_grad()
        x.square().sum().backward()
        optimizer.step()
    assert x.square().sum().item() < first / 2
