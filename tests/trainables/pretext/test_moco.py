"""MoCo v2: logits against a slow oracle, the queue's contents, the EMA, the shuffle."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pretext_harness import BATCH, N, batch_at, build, context, optimiser, params, started, train

from trainables.errors import UserError
from trainables.pretext import moco
from trainables.pretext.moco import among, info_logits, queue_size
from trainables.task import follow_weight


@pytest.mark.parametrize(
    ("images", "batch", "keys"),
    [(20_264, 256, 4096), (6_334, 256, 1024), (1_024, 64, 256), (600, 48, 96),
     (1_281_167, 256, 65_536)],
)  # fmt: skip
def test_queue_is_at_most_a_quarter_of_the_images_in_whole_batches(images, batch, keys):
    assert queue_size(images, batch) == keys


@pytest.mark.parametrize(
    ("step", "steps", "averaged"),
    [(0, 2_000, 100), (150, 2_000, 150), (200, 2_000, 200), (1_999, 2_000, 200),
     (0, 50_000, 100), (700, 50_000, 700), (9_999, 50_000, 1_000), (0, 500, 50), (0, 12, 10)],
)  # fmt: skip
def test_the_key_encoder_averages_over_a_tenth_of_the_run_at_most(step, steps, averaged):
    assert 1 / follow_weight(step, steps) == pytest.approx(averaged)


def test_loss_equals_a_slow_oracle():
    rng = torch.Generator().manual_seed(0)
    q, k, queue = (F.normalize(torch.randn(n, 6, generator=rng)) for n in (3, 3, 5))
    excluded = torch.zeros(3, 5, dtype=torch.bool)
    excluded[1, 2] = True
    loss = F.cross_entropy(info_logits(q, k, queue, excluded, 0.2), torch.zeros(3).long())
    expected = 0.0
    for i in range(3):
        positive = math.exp(float(q[i] @ k[i]) / 0.2)
        negatives = [math.exp(float(q[i] @ queue[j]) / 0.2) for j in range(5) if not excluded[i, j]]
        expected -= math.log(positive / (positive + sum(negatives))) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    pairs, keys = torch.stack([q, -q], 1), torch.stack([k, q], 1)
    diagonal = [
        (pairs[i, v] @ keys[:, v].T / 0.2).log_softmax(0)[i] for i in range(3) for v in (0, 1)
    ]
    torch.testing.assert_close(among(pairs, keys, 0, 0.2), -torch.stack(diagonal).mean())


def test_each_view_is_query_and_key():
    """The symmetric loss is the mean of both directions, each with the whole queue."""
    task = started("moco").eval()  # BatchNorm ties no image to another
    batch = batch_at(0, task.context)
    views = task.view(batch.images, batch.draw, 2).unflatten(0, (BATCH, 2))
    negatives, own = task.queue.clone(), batch.index[:, None] == task.queue_index
    batch = batch_at(0, task.context)
    with torch.no_grad():
        loss, _ = task(batch)
        losses = []
        for query, key in ((0, 1), (1, 0)):
            q = F.normalize(task.head(task.backbone(views[:, query])))
            k = F.normalize(task.key_head(task.key_backbone(views[:, key])))
            logits = info_logits(q, k, negatives, own, 0.2)
            losses.append(F.cross_entropy(logits, torch.zeros(BATCH).long()))
    torch.testing.assert_close(loss, sum(losses) / 2, rtol=1e-4, atol=1e-4)


def test_no_image_of_the_patient_is_a_negative():
    groups = tuple(k // 4 for k in range(N))
    task = started("moco", {"positives": "group"}, patient_groups=groups)
    batch = batch_at(0, task.context)
    task.queue_index.copy_(batch.index // 4 * 4)  # of another image, but the same patient
    seen = {}
    original = moco.info_logits
    try:
        moco.info_logits = lambda *a: seen.setdefault("logits", original(*a))
        task(replace(batch, partners=batch.images.flip(0)))
    finally:
        moco.info_logits = original
    same = (batch.index // 4)[:, None] == (batch.index // 4)
    excluded = seen["logits"][:, 1:] == -math.inf
    assert torch.equal(excluded.unflatten(0, (-1, 2))[:, 0], same)
    assert torch.equal(excluded.unflatten(0, (-1, 2))[:, 1], same)


def test_it_starts_with_the_key_encoder_equal_and_the_queue_full_of_distinct_images():
    task = started("moco", {"queue": 2 * BATCH}, images=2 * N)
    for ours, theirs in zip(
        task.backbone.parameters(), task.key_backbone.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert len(set(task.queue_index.tolist()) - {-1}) == 2 * BATCH
    torch.testing.assert_close(task.queue.norm(dim=1), torch.ones(2 * BATCH))


def test_new_keys_replace_the_oldest_and_are_not_among_their_own_negatives():
    task = started("moco", {"queue": 2 * BATCH}, images=2 * N)
    before = task.queue.clone()
    batch = batch_at(0, task.context)
    seen = {}
    task.keys = lambda views, draw: seen.setdefault("keys", type(task).keys(task, views, draw))
    task.enqueue = lambda keys, index: (
        seen.update(queue=task.queue.clone()), type(task).enqueue(task, keys, index)
    )  # fmt: skip
    task(batch)
    assert torch.equal(seen["queue"], before)  # the negatives were those of before the step
    assert torch.equal(task.queue[:BATCH], seen["keys"][1::2])
    assert torch.equal(task.queue[BATCH:], before[BATCH:])
    assert torch.equal(task.queue_index[:BATCH], batch.index)
    task(batch_at(1, task.context))
    assert not torch.equal(task.queue[BATCH:], before[BATCH:])
    assert int(task.pointer) == 0


def test_an_image_is_no_negative_of_its_own():
    """With every key of the queue the query's own image, nothing is left to be mistaken for."""
    task = started("moco")
    batch = batch_at(0, task.context)
    task.queue_index.copy_(batch.index[0])
    _, metrics = task(batch)
    assert metrics["accuracy"] >= 1 / BATCH
    task.queue_index.copy_(batch.index)
    queries = F.normalize(torch.randn(BATCH, 128))
    own = batch.index[:, None] == task.queue_index
    logits = info_logits(queries, queries, task.queue, own, 0.2)
    assert torch.equal(logits[:, 1:].diagonal(), torch.full((BATCH,), -math.inf))


def test_key_encoder_follows_before_the_keys_are_encoded():
    task = started("moco")
    optimizer = optimiser("moco", task)
    train(task, optimizer, range(1))
    query, key = task.head[0].weight.clone(), task.key_head[0].weight.clone()
    weight = follow_weight(1, task.context.steps)
    seen = []
    task.keys = lambda views, draw: (
        seen.append(task.key_head[0].weight.clone()), type(task).keys(task, views, draw)
    )[1]  # fmt: skip
    train(task, optimizer, range(1, 2))
    torch.testing.assert_close(seen[0], key.lerp(query, weight))
    assert task.key_backbone.training


@pytest.mark.parametrize(("groups", "shuffled"), [(1, False), (2, True)])
def test_shuffle_is_undone_and_changes_the_groups_of_batch_norm(groups, shuffled):
    task = started("moco", groups=groups)
    batch = batch_at(0, task.context)
    views = task.view(batch.images, batch.draw)
    with torch.no_grad():
        plain = F.normalize(task.key_head(task.key_backbone(views)))
    keys = task.keys(views, batch.draw)
    assert torch.allclose(keys, plain, atol=1e-3) is not shuffled
    nearest = (keys @ plain.T).argmax(1)
    if not shuffled:
        assert nearest.tolist() == list(range(BATCH))


def test_queue_survives_saving():
    task = started("moco")
    again = build("moco")
    again.load_state_dict(task.state_dict())
    for name in ("queue", "queue_index", "pointer"):
        assert torch.equal(getattr(again, name), getattr(task, name))


def test_a_batch_above_a_quarter_of_the_images_is_refused():
    with pytest.raises(UserError, match=r"must be at most 8 for moco"):
        params("moco", queue=None).check(context(global_batch=16))


@pytest.mark.parametrize("queue", [BATCH + 1, 2 * BATCH])
def test_a_queue_that_does_not_fit_is_refused_with_one_that_does(queue):
    with pytest.raises(UserError, match=f"try {BATCH} or null"):
        params("moco", queue=queue).check(context())


def test_score_does_not_depend_on_the_queue():
    task = started("moco")
    rows = [{"loss": 9.0, "batch_loss": 1.0}, {"loss": 0.1, "batch_loss": 2.0}] * 2
    assert task.score(rows[:1]) == -1.0
    assert task.score(rows) == pytest.approx(-5 / 3)
