"""The rate that an optimiser gets: in proportion to the batch, along the schedule."""

from dataclasses import replace

import pytest
import torch

from search.chains.node import Node
from tests.trainables import small
from trainables.kinds.pretext import started
from trainables.training.step import peak


def test_a_rate_is_for_256_images_and_scaled_with_the_batch(data):
    spec = small.at(small.plan(data).stages(Node.parse("rotation"))[0], 0.4)
    training = replace(spec.trained, warmup=0.2)
    assert training.global_batch == 16
    assert peak(0.4, training) == pytest.approx(0.025)
    assert peak(0.4, replace(training, global_batch=512)) == pytest.approx(0.8)
    step, feed = started(replace(spec, training=training), data, torch.device("cpu"))
    used = []
    for number in range(3):
        step(feed.batch(number))
        used.append(step.optimizer.param_groups[0]["lr"])
    assert used == pytest.approx([0.0125, 0.025, 0.025])  # two of ten steps warm up
    assert [step.rate_at(number) for number in range(3)] == pytest.approx([0.2, 0.4, 0.4])
