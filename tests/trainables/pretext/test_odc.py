"""ODC: the loss's scale, the memory's update against a slow oracle, no cluster ever too small."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pretext_harness import N, context, optimiser, params, pictures, started, train

from trainables.backbone import Backbone, group_batch_norm
from trainables.errors import UserError
from trainables.pretext import _clusters, odc
from trainables.pretext._clusters import Memory, counts, halves, k_means, means, mend
from trainables.pretext.odc import class_weights, refresh_every, weighted_mean


def features(n, width=5, seed=0):
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(
    ("images", "clusters", "minimum"),
    [(20_264, 316, 16), (6_334, 98, 16), (1_024, 16, 16), (300, 8, 9), (32, 8, 1), (8, 2, 1)],
)
def test_clusters_follow_the_data_and_always_fit(images, clusters, minimum):
    null = params("odc", clusters=None, min_cluster=None)
    assert null.sizes(context(images=images)) == (clusters, minimum)
    null.check(context(images=images))


@pytest.mark.parametrize(
    ("images", "classes", "clusters", "minimum"),
    [(20_264, 8, 316, 16), (1_469, 8, 80, 4), (1_469, 0, 22, 16), (100, 8, 25, 1)],
)
def test_there_are_ten_clusters_a_class_where_classes_are_known(images, classes, clusters, minimum):
    null, known = params("odc"), context(images=images, classes=classes)
    assert null.sizes(known) == (clusters, minimum)
    null.check(known)


def test_too_many_clusters_are_refused_with_numbers_that_fit():
    with pytest.raises(UserError, match="try clusters=8 min_cluster=9"):
        params("odc", clusters=40, min_cluster=20).check(context(images=300))
    params("odc", clusters=8, min_cluster=9).check(context(images=300))


def test_centroids_refresh_at_least_five_times_an_epoch():
    assert [refresh_every(steps) for steps in (1, 4, 25, 79)] == [1, 1, 5, 10]


def test_loss_starts_at_ln_k():
    task = started("odc")
    loss = train(task, optimiser("odc", task), range(1))[0]["loss"]
    assert loss == pytest.approx(math.log(task.clusters), rel=0.03)


def test_weighted_mean_equals_torch_on_the_whole_batch():
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    weights = class_weights(counts(labels, 3))
    expected = torch.tensor([3.0, 1, 2]) ** -0.5
    torch.testing.assert_close(weights, expected / expected.sum(), rtol=1e-4, atol=0)
    logits = torch.randn(6, 3)
    each = F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(
        weighted_mean(each, labels, weights), F.cross_entropy(logits, labels, weights)
    )


def test_update_equals_a_slow_oracle():
    memory = Memory(images=20, clusters=4, width=5)
    memory.bank.copy_(features(20))
    memory.labels.copy_(torch.arange(20) % 4)
    memory.refresh()
    bank, labels, centroids = (
        getattr(memory, n).numpy().copy() for n in ("bank", "labels", "centroids")
    )
    index, fresh = torch.tensor([3, 7, 11]), 3 * features(3, seed=1)
    changed = 0
    for i, new in zip(index.tolist(), fresh.numpy(), strict=True):
        blend = 0.5 * bank[i] + 0.5 * new / np.linalg.norm(new)
        bank[i] = blend / np.linalg.norm(blend)
        label = max(range(4), key=lambda k: centroids[k] @ bank[i])
        changed += label != labels[i]
        labels[i] = label
    ratio = memory.update(index, fresh, momentum=0.5)
    np.testing.assert_allclose(memory.bank, bank, atol=1e-6)
    assert memory.labels.tolist() == labels.tolist()
    assert float(ratio) == pytest.approx(changed / 3)
    memory.refresh()
    for k in range(4):
        np.testing.assert_allclose(memory.centroids[k], bank[labels == k].mean(0), atol=1e-6)


def test_an_empty_cluster_keeps_its_centroid():
    kept = torch.full((3, 5), 7.0)
    result = means(features(4), torch.tensor([0, 0, 2, 2]), kept)
    assert torch.equal(result[1], kept[1])
    torch.testing.assert_close(result[0], features(4)[:2].mean(0))


def test_blobs_are_clusters_and_equal_features_are_no_error():
    middles = features(6, 16)
    blobs = F.normalize(middles.repeat(50, 1) + 0.02 * features(300, 16, seed=1))
    labels = k_means(blobs, 6, seed=0).view(50, 6)
    assert (labels == labels[0]).all()
    assert len(set(labels[0].tolist())) == 6
    assert set(k_means(torch.ones(40, 5), 4, seed=0).tolist()) <= {0, 1, 2, 3}


def test_one_pass_is_made_over_more_images_than_k_means_can_repeat(monkeypatch):
    import sklearn.cluster

    passes = []

    class Seen(sklearn.cluster.MiniBatchKMeans):
        def fit(self, *args, **kwargs):
            passes.append(self.max_iter)
            return super().fit(*args, **kwargs)

    monkeypatch.setattr(sklearn.cluster, "MiniBatchKMeans", Seen)
    for most in (300 * 6 * 40, 300 * 6 * 7, 300 * 6 - 1):
        monkeypatch.setattr(_clusters, "DISTANCES", most)
        k_means(features(300), 6, seed=0)
    assert passes == [20, 7, 1]


@pytest.mark.parametrize("minimum", [1, 3, 6])
def test_no_cluster_is_ever_too_small(minimum):
    """Labels that rush together, step after step: the worst that can be done to the clusters."""
    images, clusters = 96, 8
    rng = torch.Generator().manual_seed(minimum)
    bank, labels = features(images), torch.arange(images) % clusters
    centroids = means(bank, labels, torch.zeros(clusters, 5))
    for step in range(60):
        moved = torch.randperm(images, generator=rng)[:40]
        labels[moved] = int(torch.randint(clusters, (), generator=rng)) if step % 3 else 0
        mend(bank, labels, centroids, minimum)
        assert counts(labels, clusters).min() >= minimum
        assert centroids.isfinite().all()


def refilled_slowly(bank, labels, centroids, minimum):
    """Halve the largest cluster again and again, each time searching all labels for its members."""
    sizes = counts(labels, len(centroids))
    for cluster in (sizes < minimum).nonzero().flatten().tolist():
        largest = int(sizes.argmax())
        members = (labels == largest).nonzero().flatten()
        second = halves(bank[members], minimum)
        labels[members[second]] = cluster
        centroids[largest] = bank[members[~second]].mean(0)
        centroids[cluster] = bank[members[second]].mean(0)
        sizes = counts(labels, len(centroids))


def test_many_empty_clusters_are_refilled_as_by_a_slow_oracle():
    """Ninety-six of a hundred, by halves of halves."""
    bank, labels = features(900), torch.arange(900) % 4
    centroids = means(bank, labels, torch.zeros(100, 5))
    slow, slow_centroids = labels.clone(), centroids.clone()
    mend(bank, labels, centroids, 4)
    refilled_slowly(bank, slow, slow_centroids, 4)
    assert counts(labels, 100).min() >= 4
    assert torch.equal(labels, slow)
    assert torch.equal(centroids, slow_centroids)


def test_equal_features_are_split_too():
    bank, labels = torch.ones(20, 5), torch.zeros(20, dtype=torch.int64)
    centroids = torch.zeros(4, 5)
    mend(bank, labels, centroids, 2)
    assert counts(labels, 4).min() >= 2


@pytest.mark.parametrize("block", [1, 4096])
def test_members_of_a_small_cluster_go_to_the_nearest_healthy_one(block, monkeypatch):
    monkeypatch.setattr(_clusters, "BLOCK", block)
    axes = torch.eye(5)
    bank = torch.cat(
        [axes[0].repeat(8, 1), axes[1].repeat(6, 1), 0.6 * axes[1:2] + 0.8 * axes[2:3]]
    )
    labels = torch.tensor([0] * 8 + [1] * 6 + [2])
    centroids = means(bank, labels, torch.zeros(3, 5))
    mend(bank, labels, centroids, 2)
    assert labels[-1] == 1
    assert counts(labels, 3).tolist() == [4, 7, 4]  # the largest gave half of its equal members
    assert (labels[:8] != 1).all()


def test_two_blobs_are_two_halves():
    blobs = torch.cat([features(1) + 0.01 * features(9), -features(1) + 0.01 * features(6)])
    second = halves(blobs, minimum=2)
    assert len(set(second[:9].tolist())) == len(set(second[9:].tolist())) == 1
    assert second[0] != second[-1]
    assert halves(blobs, minimum=7).sum() in (7, 8)  # by the median, since 2-means gives 9 and 6


def test_no_cluster_empty_while_training():
    task = started("odc")
    history = train(task, optimiser("odc", task, lr=0.1), range(6))
    assert min(row["smallest"] for row in history) >= task.minimum
    assert counts(task.memory.labels, task.clusters).sum() == N


def test_mending_a_step_later_changes_nothing(monkeypatch):
    """Against mending at the end of the step, where clusters soon are too small."""
    mended = []

    def counted(*args):
        mended.append(int((counts(args[1], len(args[2])) < args[3]).any()))
        mend(*args)

    monkeypatch.setattr(odc, "mend", counted)
    many = {"clusters": 8, "min_cluster": 2}
    later, at_once = started("odc", many), started("odc", many)
    remember = at_once.remember

    def mending(*args):
        changed = remember(*args)
        memory = at_once.memory
        mend(memory.bank, memory.labels, memory.centroids, at_once.minimum)
        return changed

    at_once.remember = mending
    histories = [train(t, optimiser("odc", t, lr=0.3), range(16)) for t in (later, at_once)]
    assert histories[0] == histories[1]
    assert sum(mended) > 0


def test_sizes_are_counted_on_as_labels_change():
    """What decides whether to mend is what counting all labels would say."""
    task = started("odc", {"clusters": 8, "min_cluster": 2})
    for step in range(6):
        train(task, optimiser("odc", task, lr=0.3), range(step, step + 1))
        assert task.short.answer() == bool((task.memory.sizes() < 2).any())


def test_start_fits_batch_norm_to_the_images():
    task = started("odc", groups=2)
    images, reference = pictures(), Backbone("resnet10")
    reference.load_state_dict(task.backbone.state_dict())
    group_batch_norm(reference, 1)
    reference.net.bn1.momentum = 1.0
    reference.net.bn1(reference.net.conv1(task.full(images)))
    torch.testing.assert_close(
        reference.net.bn1.running_mean, task.backbone.net.bn1.running_mean, rtol=1e-3, atol=1e-4
    )
    assert task.backbone.net.bn1.momentum == 0.1


def test_the_head_has_no_momentum():
    task = started("odc")
    optimizer = optimiser("odc", task)
    train(task, optimizer, range(2))
    (group,) = [g for g in optimizer.param_groups if g["momentum"] == 0]
    assert {id(p) for p in group["params"]} == {id(p) for p in task.head.parameters()}


def test_score_prefers_labels_that_are_learnt_and_stay():
    task = started("odc")
    idle, good, wild, collapsed = (
        task.score([{"loss": loss, "label_entropy": entropy, "change_ratio": change}] * 2)
        for loss, entropy, change in (
            (2.0, 2.0, 0.1),
            (1.6, 2.0, 0.2),
            (1.4, 2.0, 0.9),
            (1.1, 1.1, 0.1),
        )
    )
    assert good == pytest.approx(0.2 * 0.8)
    assert good > wild > idle == collapsed == 0


def test_accuracy_of_a_guess_is_the_weighted_share_of_the_largest_cluster():
    task = started("odc")
    task.memory.labels.fill_(1)
    task.memory.labels[:8] = 0
    assert task.chance_level() == pytest.approx(24**0.5 / (24**0.5 + 8**0.5), rel=1e-3)
