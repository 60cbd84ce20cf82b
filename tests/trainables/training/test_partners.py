"""Partners: others of the same patient group, drawn evenly and alike on any number of ranks."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainables import small
from trainables.training import distributed
from trainables.training.feed import Feed
from trainables.training.partners import PairedFeed, Partners, numbered

GROUPS = np.array([7, 3, 7, 1, 3, 7, 9])
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.prepared(tmp_path_factory.mktemp("cache"))


def test_a_partner_is_each_other_of_the_group_as_often_and_the_image_itself_if_it_is_alone():
    known, u = Partners(GROUPS), np.linspace(0, 1, 300, endpoint=False)
    for image, others in {0: {2, 5}, 2: {0, 5}, 1: {4}, 3: {3}, 6: {6}}.items():
        found = Counter(known.of(np.full(300, image), u).tolist())
        assert found.keys() == others
        assert len({*found.values()}) == 1


def test_images_of_no_known_patient_are_alone(data):
    few = replace(data, groups=("b", "", "a", "b"), pool_groups=("", "a"))
    numbers = numbered(few, np.array([5, 0, 1, 2, 4, 3]))
    assert numbers[0] == numbers[3] != numbers[1] == numbers[5]
    assert len({*numbers.tolist()}) == 4


def test_batches_are_those_of_a_plain_feed_with_partners_of_their_groups(data, monkeypatch):
    index = data.split["train"]
    groups = np.arange(len(index)) // 3
    arguments = data, index, 16, 0, CPU
    plain, paired = (
        Feed(*arguments).batch(3),
        PairedFeed(*arguments, patient_groups=groups).batch(3),
    )
    assert torch.equal(plain.images, paired.images)
    assert torch.equal(plain.index, paired.index)
    for at, pixels in zip(paired.index.tolist(), paired.partners, strict=True):
        others = [k for k in np.flatnonzero(groups == groups[at]) if k != at]
        images = [torch.from_numpy(data.images[index[k]].copy()) for k in others or [at]]
        assert any(torch.equal(pixels.permute(1, 2, 0), image) for image in images)
    assert torch.equal(paired.paired[1::2], paired.partners)
    parts = []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(PairedFeed(*arguments, patient_groups=groups).batch(3).partners)
    assert torch.equal(torch.cat(parts), paired.partners)
