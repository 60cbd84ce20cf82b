"""BYOL: the loss against a slow oracle, the target's EMA, the alarm for a collapse."""

import math

import pytest
import torch
from pretext_harness import BATCH, batch_at, optimiser, started, train

from trainables.errors import StageFailed
from trainables.pretext.byol import DIMENSIONS, falling_weight


def test_loss_and_accuracy_equal_a_slow_oracle():
    task = started("byol")
    ours, theirs = {}, {}
    task.predict.register_forward_hook(lambda *a: ours.update(all=a[2].detach()))
    task.target_project.register_forward_hook(lambda *a: theirs.update(all=a[2]))
    with torch.no_grad():
        loss, metrics = task(batch_at(0, task.context))
    predicted = ours["all"].view(BATCH, 2, DIMENSIONS)
    target = theirs["all"].view(BATCH, 2, DIMENSIONS)
    cosine = torch.nn.functional.cosine_similarity
    expected, right = 0.0, 0
    for image in range(BATCH):
        for view in (0, 1):
            own = cosine(predicted[image, view], target[image, 1 - view], dim=0)
            every = [
                cosine(predicted[image, view], target[k, 1 - view], dim=0) for k in range(BATCH)
            ]
            expected += (2 - 2 * float(own)) / (2 * BATCH)
            right += int(torch.stack(every).argmax()) == image
    assert float(loss) == pytest.approx(expected, rel=1e-4)
    assert float(metrics["accuracy"]) == pytest.approx(right / (2 * BATCH))


def test_the_target_starts_equal_and_follows_after_the_step():
    task = started("byol")
    online, target = task.project[0].weight, task.target_project[0].weight
    assert torch.equal(online, target)
    before = target.clone()
    train(task, optimiser("byol", task, lr=0.1), range(1))
    weight = falling_weight(0, task.context.steps)
    assert not torch.equal(online, before)
    torch.testing.assert_close(target, before.lerp(online, weight))
    assert not any(p.requires_grad for p in task.target_backbone.parameters())
    assert task.target_backbone.training


def test_the_target_follows_as_moco_does_and_stands_still_in_the_end():
    assert falling_weight(0, 3000) == pytest.approx(1 / 100)
    assert falling_weight(1500, 3000) == pytest.approx(1 / 300 / 2)
    assert falling_weight(3000, 3000) == pytest.approx(0)


def test_a_collapse_stops_the_stage_with_the_reason():
    """All images on one point: the loss is 0, which is why the loss is no alarm."""
    task = started("byol")
    for layer in (task.project[3], task.target_project[3], task.predict[3]):
        layer.weight.data.zero_()
        layer.bias.data.fill_(1.0)
    for step in range(36):
        loss, metrics = task(batch_at(step % 4, task.context))
        task.after_step(step)
    task(batch_at(0, task.context))
    task(batch_at(1, task.context))
    task(batch_at(2, task.context))
    with pytest.raises(StageFailed, match=r"byol collapsed: at step 40 .* try another learning"):
        task.after_step(39)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)
    assert float(metrics["accuracy"]) <= 1 / BATCH + 1e-6


def test_a_run_shorter_than_an_epoch_is_watched_too():
    task = started("byol", steps=2000, epoch_steps=5000)
    task.spread.zero_()
    task.after_step(198)
    with pytest.raises(StageFailed, match="byol collapsed: at step 200 "):
        task.after_step(199)


def test_score_is_not_the_loss():
    task = started("byol")
    rows = [{"loss": 0.0, "batch_loss": 2.0}, {"loss": 0.0, "batch_loss": 1.0}]
    assert task.score(rows) == -1.0
    assert task.score([{"batch_loss": math.nan}] * 2) == -math.inf
