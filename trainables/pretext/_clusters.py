"""ODC's memory: feature and label of every image, centroids of the clusters, none too small.

    memory = Memory(images=1000, clusters=80, width=128)
    memory.bank.copy_(features)
    memory.fill(seed=0, minimum=3)                   # k-means on rank 0
    changed = memory.update(index, fresh, momentum=0.5)

Nothing here is quadratic in the images, nor has a value for every image and cluster at once.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.training import distributed

ITERATIONS = 20  # of k-means at the start, of 2-means in a split
DISTANCES = 3_000_000_000  # computed by k-means, at most, if that allows one pass over the images
BLOCK = 4096  # images compared with all centroids at once


class Memory(nn.Module):
    """Feature and label of every image and centroids of the clusters, the same on every rank."""

    bank: Tensor
    labels: Tensor
    centroids: Tensor

    def __init__(self, images: int, clusters: int, width: int) -> None:
        super().__init__()
        self.register_buffer("bank", torch.zeros(images, width))
        self.register_buffer("labels", torch.zeros(images, dtype=torch.int64))
        self.register_buffer("centroids", torch.zeros(clusters, width))

    @torch.no_grad()
    def fill(self, seed: int, minimum: int) -> None:
        """Cluster the bank by seeded k-means on rank 0; the others get the result.

        minimum: the fewest images in a cluster.
        """
        if distributed.rank() == 0:
            self.labels.copy_(k_means(self.bank, len(self.centroids), seed))
            self.centroids.copy_(means(self.bank, self.labels, self.centroids))
            mend(self.bank, self.labels, self.centroids, minimum)
        distributed.broadcast(self)

    @torch.no_grad()
    def update(self, index: Tensor, features: Tensor, momentum: float) -> Tensor:
        """Blend in the global batch's features; return the fraction of labels that changed.

        index: int64 [b]; features: [b, width]; momentum: weight of the old features.
        """
        bank = F.normalize(momentum * self.bank[index] + (1 - momentum) * F.normalize(features))
        labels = (bank @ self.centroids.T).argmax(1)
        changed = (labels != self.labels[index]).float().mean()
        self.bank[index], self.labels[index] = bank, labels
        return changed

    @torch.no_grad()
    def refresh(self) -> None:
        """Recompute centroids as means, averaged over ranks: different GPUs round differently."""
        fresh = means(self.bank, self.labels, self.centroids)
        self.centroids.copy_(distributed.all_mean(fresh))

    def sizes(self) -> Tensor:
        """Return the images of every cluster: int64 [clusters]."""
        return counts(self.labels, len(self.centroids))


def k_means(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return labels [images] by mini-batches on this rank's processor (Sculley, 2010)."""
    from sklearn.cluster import MiniBatchKMeans  # imported here: it takes 1.5 s
    from threadpoolctl import threadpool_limits  # of scikit-learn

    passes = max(1, min(ITERATIONS, DISTANCES // (len(features) * clusters)))
    model = MiniBatchKMeans(
        clusters, n_init=1, max_iter=passes, batch_size=max(1024, 4 * clusters),
        init_size=max(1024, 3 * clusters), max_no_improvement=None, random_state=seed,
    )  # fmt: skip
    with threadpool_limits(torch.get_num_threads()):  # more would wait for each other
        return torch.from_numpy(model.fit_predict(features.cpu().numpy())).long()


def counts(labels: Tensor, clusters: int) -> Tensor:
    zeros = torch.zeros(clusters, dtype=torch.int64, device=labels.device)
    return zeros.index_add(0, labels, torch.ones_like(labels))


def means(bank: Tensor, labels: Tensor, otherwise: Tensor) -> Tensor:
    """Return the mean feature of each cluster [clusters, width]; `otherwise`'s where empty.

    Summed in the images' order, since `index_add` has none on a GPU and ranks would diverge.
    """
    sizes = counts(labels, len(otherwise))
    ordered = bank[labels.argsort(stable=True)]
    # unsafe: its checks of the lengths would make a GPU wait
    sums = torch.segment_reduce(ordered, "sum", lengths=sizes, unsafe=True)
    return torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), otherwise)


def mend(bank: Tensor, labels: Tensor, centroids: Tensor, minimum: int) -> None:
    """Dissolve clusters below `minimum` in place and refill each with half of the largest one.

    bank: [images, width]; labels: int64 [images]; centroids: [clusters, width]. Members move to the
    nearest healthy centroid. With clusters * minimum <= images / 2 the largest cluster always has
    2 * minimum images, so every cluster ends with at least `minimum`.
    """
    sizes = counts(labels, len(centroids))
    small = (sizes < minimum).nonzero().flatten().tolist()
    if not small:
        return
    homeless = torch.isin(labels, torch.tensor(small, device=labels.device)).nonzero().flatten()
    for some in homeless.split(BLOCK):
        nearness = bank[some] @ centroids.T
        nearness[:, small] = -math.inf
        labels[some] = nearness.argmax(1)
    sizes = counts(labels, len(centroids))
    members = dict[int, Tensor]()  # of clusters that are halves already
    for cluster in small:
        largest = int(sizes.argmax())
        known = largest in members
        own = members[largest] if known else (labels == largest).nonzero().flatten()
        second = halves(bank[own], minimum)
        members[largest], members[cluster] = own[~second], own[second]
        for half in largest, cluster:
            labels[members[half]] = half
            centroids[half] = bank[members[half]].mean(0)
            sizes[half] = len(members[half])


def halves(features: Tensor, minimum: int) -> Tensor:
    """Split by 2-means, or at its axis's median if a part would be too small: bool [n]."""
    first = farthest(features, features.mean(0))
    pair = torch.stack([first, farthest(features, first)])
    for _ in range(ITERATIONS):
        second = torch.cdist(features, pair).argmin(1)
        pair = means(features, second, pair)
    if int(counts(second, 2).min()) >= minimum:
        return second.bool()
    order = (features @ (pair[1] - pair[0])).argsort(stable=True)
    return torch.zeros_like(second).index_fill_(0, order[len(order) // 2 :], 1).bool()


def farthest(features: Tensor, point: Tensor) -> Tensor:
    return features[(features - point).square().sum(1).argmax()]
