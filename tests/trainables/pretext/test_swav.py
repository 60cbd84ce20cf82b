"""SwAV: Sinkhorn and the loss against slow oracles, the freeze, the queue, the alarm."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, local

import numpy as np
import pytest
import torch
from pretext_harness import BATCH, batch_at, build, context, optimiser, params, started, train

from trainables.errors import StageFailed, UserError
from trainables.pretext import swav
from trainables.pretext.swav import entropy, sinkhorn, swapped_loss
from trainables.training import distributed

NULL = {"prototypes": None, "queue": None}


def cosines(n, k, seed=0):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(
    ("images", "batch", "prototypes", "queue"),
    [(20_264, 256, 316, 1024), (6_334, 256, 98, 512), (1_024, 64, 16, 64), (32, 8, 12, 8),
     (1_281_167, 256, 3000, 3840)],
)  # fmt: skip
def test_prototypes_and_queue_follow_the_data(images, batch, prototypes, queue):
    ctx = context(images=images, global_batch=batch)
    assert params("swav", **NULL).sizes(ctx) == (prototypes, queue)
    params("swav", **NULL).check(ctx)


@pytest.mark.parametrize("given", [{"prototypes": 13}, {"queue": 12}, {"queue": 800}])
def test_sizes_that_do_not_fit_are_refused_with_some_that_do(given):
    with pytest.raises(UserError, match=r"try (12|8) or null"):
        params("swav", **{**NULL, **given}).check(context())


def test_sinkhorn_equals_a_slow_oracle():
    scores = cosines(7, 4)
    q = np.exp(scores.double().numpy() / 0.05).T
    q /= q.sum()
    for _ in range(3):
        for k in range(4):
            q[k] /= q[k].sum() * 4
        for i in range(7):
            q[:, i] /= q[:, i].sum() * 7
    np.testing.assert_allclose(sinkhorn(scores, 0.05, 3), q.T * 7, rtol=1e-4, atol=1e-7)


def test_sinkhorn_balances_the_prototypes_and_never_overflows():
    codes = sinkhorn(torch.tensor([[1.0, -1.0], [1.0, -1.0], [0.99, -1.0]]), 0.03, 50)
    assert codes.isfinite().all()
    torch.testing.assert_close(codes.sum(0), torch.tensor([1.5, 1.5]), rtol=1e-3, atol=0)
    torch.testing.assert_close(codes.sum(1), torch.ones(3))


def test_codes_on_two_ranks_are_those_of_the_concatenated_batch(monkeypatch):
    """Two threads as ranks; test_ranks.py does it with processes, queue and all."""
    scores, posted, barrier, ranks = cosines(10, 4), {}, Barrier(2), local()
    whole = sinkhorn(scores, 0.05, 3)

    def all_mean(x):
        posted[ranks.rank] = x
        barrier.wait(10)
        mean = (posted[0] + posted[1]) / 2
        barrier.wait(10)
        return mean

    def codes(rank):
        ranks.rank = rank
        return sinkhorn(scores[5 * rank : 5 * rank + 5], 0.05, 3)

    monkeypatch.setattr(distributed, "all_mean", all_mean)
    with ThreadPoolExecutor(2) as pool:
        torch.testing.assert_close(torch.cat(list(pool.map(codes, (0, 1)))), whole)


def test_loss_equals_a_slow_oracle():
    scores, codes = cosines(3 * 5, 4).view(3, 5, 4), cosines(6, 4).softmax(1).view(3, 2, 4)
    total, count = 0.0, 0
    for image in range(3):
        for large in range(2):
            for crop in range(5):
                if crop != large:
                    prediction = (scores[image, crop] / 0.1).softmax(0).log()
                    total -= float(codes[image, large] @ prediction)
                    count += 1
    assert float(swapped_loss(scores, codes, 0.1)) == pytest.approx(total / count, rel=1e-5)


def test_prototypes_are_frozen_for_exactly_an_epoch_and_of_unit_norm():
    task = started("swav", steps=40)
    optimizer, first = optimiser("swav", task), task.prototypes.weight.detach().clone()
    epoch = task.context.epoch_steps
    train(task, optimizer, range(epoch))
    assert torch.equal(task.prototypes.weight, first)
    train(task, optimizer, range(epoch, epoch + 1))
    assert not torch.equal(task.prototypes.weight, first)
    torch.testing.assert_close(task.prototypes.weight.norm(dim=1), torch.ones(len(first)))
    assert task.prototypes.bias is None


def test_queue_holds_the_newest_large_crops_and_joins_once_full():
    task = started("swav", {"queue": 2 * BATCH})
    assert task.queue_start == 2
    seen = []
    codes = swav.sinkhorn
    try:
        swav.sinkhorn = lambda scores, *rest: (seen.append(len(scores)), codes(scores, *rest))[1]
        optimizer = optimiser("swav", task)
        train(task, optimizer, range(1))
        newest = task.queue[:, :BATCH].clone()
        train(task, optimizer, range(1, 3))
    finally:
        swav.sinkhorn = codes
    assert seen == [BATCH] * 4 + [3 * BATCH] * 2
    assert not torch.equal(task.queue[:, :BATCH], newest)
    torch.testing.assert_close(task.queue.norm(dim=2), torch.ones(2, 2 * BATCH))


def test_embeddings_are_image_by_image_large_crops_first():
    task = started("swav").eval()
    batch = batch_at(0, task.context)
    embedded = task.embed(batch)
    again = batch_at(0, task.context)
    crop = task.large_view(again.images, again.draw, 2)[::2]
    torch.testing.assert_close(embedded[:, 0], task.head(task.backbone(crop)), rtol=1e-3, atol=1e-4)
    assert embedded.shape[:2] == (BATCH, 6)


def test_a_collapsed_run_ends_with_the_reason_past_half_of_it():
    task = started("swav")
    task.level.copy_(torch.tensor([1.0, 1.0]))
    task.after_step(10)
    with pytest.raises(StageFailed, match=r"collapsed: at step 12 .*epsilon 0.03"):
        task.after_step(11)
    for loss, flatness in ((0.9, 1.0), (1.0, 0.9)):  # it learns; it has not begun to
        task.level.copy_(torch.tensor([loss, flatness]))
        task.after_step(11)


def test_a_run_shorter_than_an_epoch_is_watched_and_freezes_for_a_tenth():
    task = started("swav", steps=2000, epoch_steps=5000)
    assert task.freeze == 200
    task.level.fill_(1.0)
    task.after_step(799)  # it may learn late
    with pytest.raises(StageFailed, match="collapsed: at step 1000 "):
        task.after_step(999)


def test_images_that_all_look_alike_are_a_collapse():
    task = started("swav")
    batch = batch_at(0, task.context)
    task.embed = lambda _: torch.ones(BATCH, 6, 128)
    task(batch)
    assert float(task.level[1]) > 0.998
    assert float(entropy(torch.eye(4)).max()) == 0


def test_state_survives_saving():
    task = started("swav")
    train(task, optimiser("swav", task), range(2))
    again = build("swav")
    again.load_state_dict(task.state_dict())
    assert torch.equal(again.queue, task.queue)
    assert torch.equal(again.level, task.level)
