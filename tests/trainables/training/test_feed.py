"""The feed: which images a batch holds, on one rank and on several, resumed and read ahead."""

import numpy as np
import pytest
import torch

from trainables.images.cache import Prepared
from trainables.training import distributed
from trainables.training import feed as training_feed
from trainables.training.feed import Feed

CPU, BATCH, SEED = torch.device("cpu"), 16, 7


@pytest.fixture
def feed(data):
    return Feed(data, data.split["train"], BATCH, SEED, CPU)


def test_an_epoch_uses_each_image_at_most_once_and_the_next_another_order(feed):
    epochs = [
        torch.cat(
            [feed.batch(epoch * feed.epoch_steps + step).index for step in range(feed.epoch_steps)]
        )
        for epoch in range(2)
    ]
    assert feed.epoch_steps == len(feed.index) // BATCH
    for positions in epochs:
        assert len(positions) == feed.epoch_steps * BATCH
        assert len(set(positions.tolist())) == len(positions)
    assert not torch.equal(*epochs)


def test_pixels_are_those_of_the_positions_channels_first(feed, data):
    batch = feed.batch(0)
    rows = data.split["train"][batch.index.numpy()]
    expected = np.stack([data.images[row] for row in rows]).transpose(0, 3, 1, 2)
    assert batch.images.dtype == torch.uint8
    assert np.array_equal(batch.images.numpy(), expected)


def test_images_that_stay_on_the_device_give_the_same_batches(data, feed, monkeypatch):
    expected = [feed.batch(step) for step in (0, 1, 20)]
    size = len(feed.index) * data.images[0].nbytes
    monkeypatch.setattr(training_feed, "fits", lambda asked, _: asked == size)
    monkeypatch.setattr(training_feed, "BLOCK", 100)
    resident = Feed(data, data.split["train"], BATCH, SEED, CPU)
    monkeypatch.setattr(Prepared, "take", None)  # nothing is read any more
    for one in expected:
        batch = resident.batch(one.step)
        assert torch.equal(batch.images, one.images)
        assert batch.images.stride() == one.images.stride()
        assert torch.equal(batch.index, one.index)


def test_a_computer_keeps_no_second_copy_of_the_images():
    assert not training_feed.fits(1, CPU)


def test_a_batch_depends_on_seed_and_step_not_on_what_was_read_before(feed, data):
    for step in range(3):
        feed.batch(step)
    resumed = Feed(data, data.split["train"], BATCH, SEED, CPU).batch(3)
    whole = feed.batch(3)
    assert torch.equal(whole.index, resumed.index)
    assert torch.equal(whole.draw.uniform(2), resumed.draw.uniform(2))
    other = Feed(data, data.split["train"], BATCH, SEED + 1, CPU).batch(3)
    assert not torch.equal(whole.index, other.index)


def test_ranks_share_the_global_batch_in_order(feed, data, monkeypatch):
    whole = [feed.batch(step).index for step in range(2)]
    parts = []
    for rank in range(2):
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        ours = Feed(data, data.split["train"], BATCH, SEED, CPU)
        parts.append([ours.batch(step).index for step in range(2)])
    for step in range(2):
        assert torch.equal(torch.cat([parts[0][step], parts[1][step]]), whole[step])
