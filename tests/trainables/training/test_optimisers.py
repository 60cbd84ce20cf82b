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


def slow_lars(params, buffers, lr, decay):
    """The rule, weight by weight."""
    for p, buffer in zip(params, buffers, strict=True):
        weight, slope = p.norm().item(), p.grad.norm().item()
        scale = 1.0
        if p.ndim > 1 and weight > 0 and slope > 0:
            scale = min(1.0, 0.02 * weight / (slope + decay * weight) / lr)
        buffer.mul_(0.9).add_((p.grad + decay * p) * scale)
        p.sub_(buffer, alpha=lr)


def test_lars_equals_a_slow_oracle():
    """Clipped and unclipped weights, one of norm 0, one without a gradient, and a vector."""
    torch.manual_seed(0)
    sizes = (30.0, 1e-3, 0.0, 1.0)
    ours = [torch.randn(4, 5) * size for size in sizes] + [torch.randn(5), torch.randn(2, 3)]
    theirs, buffers = [p.clone() for p in ours], [torch.zeros_like(p) for p in ours[:-1]]
    optimizer = optim.build("lars", [p.requires_grad_() for p in ours], 0.1, 0.01)
    scaled = set()
    for _ in range(3):
        for p, other in zip(ours[:-1], theirs, strict=False):
            p.grad = torch.randn_like(p)
            other.grad = p.grad.clone()
        scaled |= {0.02 * p.norm().item() < 0.1 * p.grad.norm().item() for p in theirs[:2]}
        optimizer.step()
        slow_lars(theirs[:-1], buffers, 0.1, 0.01)
    assert scaled == {True, False}
    for p, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p.detach(), other)


def test_lars_by_hand():
    """|w| = 5, |g| = 2: the rate is 0.02 * 5 / (2 + 0.01 * 5), or 0.01 where that is less."""
    for lr, rate in ((0.1, 0.02 * 5 / 2.05), (0.01, 0.01)):
        w = torch.tensor([[3.0, 4.0]], requires_grad=True)
        w.grad = torch.tensor([[2.0, 0.0]])
        optim.build("lars", [w], lr, 0.01).step()
        move = torch.tensor([[2.03, 0.04]])
        torch.testing.assert_close(w.detach(), torch.tensor([[3.0, 4.0]]) - rate * move)


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_every_optimiser_goes_downhill(name):
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = optim.build(name, [x], 0.1, 0.0)
    first = x.square().sum().item()
    for _ in range(20):
        optimizer.zero_grad()
        x.square().sum().backward()
        optimizer.step()
    assert x.square().sum().item() < first / 2
