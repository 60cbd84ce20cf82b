"""A step: its arithmetic on a task of one weight, its schedule, its hooks, its groups."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from search.chains.node import Node
from tests.trainables import small
from trainables.backbone import GroupedBatchNorm
from trainables.task import Batch, Draw, Task
from trainables.training.step import Step, place

CPU = torch.device("cpu")


class Line(Task):
    """The loss is 3 w, so the gradient is 3 whatever the images; the hooks note when they run."""

    def __init__(self):
        nn.Module.__init__(self)
        self.w = nn.Parameter(torch.tensor([[2.0]]))
        self.norm = nn.BatchNorm2d(1)
        self.seen = []

    def forward(self, batch):
        self.seen.append(("forward", batch.step, torch.is_autocast_enabled("cpu")))
        return 3 * self.w.sum(), {"accuracy": torch.tensor(0.5)}

    def before_step(self, step):
        self.seen.append(("before", step, self.w.grad.item()))

    def after_step(self, step):
        self.seen.append(("after", step, round(self.w.item(), 6)))


@pytest.fixture
def training(data):
    spec = small.plan(data).stages(Node.parse("rotation"))[0]
    return replace(spec.training, optimizer="sgd", weight_decay=0.0, warmup=0.0, bn_groups=4)


def batch(step):
    return Batch(
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.arange(2), Draw(0, step, 2, CPU), step
    )


def test_a_step_is_w_minus_rate_times_gradient_and_calls_the_hooks_around_it(training):
    task = Line()
    step = Step(task, task, place(task, training, 0.1, CPU), training, 0.1, steps=4)
    row = step(batch(0))
    assert {name: float(value) for name, value in row.items()} == {"loss": 6.0, "accuracy": 0.5}
    assert not row["loss"].requires_grad
    assert task.seen == [("forward", 0, False), ("before", 0, 3.0), ("after", 0, 1.7)]


def test_the_rate_follows_a_cosine_from_its_peak(training):
    task = Line()
    optimizer = place(task, training, 0.1, CPU)
    step = Step(task, task, optimizer, training, 0.1, steps=4)
    rates = []
    for number in range(4):
        step(batch(number))
        rates.append(optimizer.param_groups[0]["lr"])
    cosine = [0.05 * (1 + torch.cos(torch.tensor(torch.pi * k / 4)).item()) for k in range(4)]
    assert rates == pytest.approx(cosine)


def test_bfloat16_is_autocast_in_the_forward_pass_alone(training):
    task = Line()
    half = replace(training, precision="bfloat16")
    Step(task, task, place(task, half, 0.1, CPU), half, 0.1, steps=4)(batch(0))
    assert task.seen[0] == ("forward", 0, True)
    assert task.w.dtype == task.w.grad.dtype == torch.float32


def test_placing_splits_batch_norm_into_the_groups_of_a_rank(training):
    task = Line()
    place(task, training, 0.1, CPU)
    assert isinstance(task.norm, GroupedBatchNorm)
    assert task.norm.groups == 4
