"""ODC, online deep clustering: labels and features move together (Zhan et al., 2020).

Differences from OpenSelfSup's code:
- the memory (features, labels, centroids) is a persistent buffer on every rank, so that a stage
  resumes; every rank applies the same update from the gathered features (see `_clusters`);
- the number of clusters follows the data: N / 64, and ten a class where classes are known;
- k-means takes mini-batches, on one rank;
- class weights enter a weighted *mean* over the global batch, so that the loss starts at ln K;
- both parts of a split keep `min_cluster` images, so that no cluster is ever smaller;
- images are drawn without replacement;
- BatchNorm statistics are fitted to full views before the first k-means.

The LR policy's score is (entropy - loss) / entropy of the weighted labels, times the fraction of
labels that do not change. The loss alone misleads because the labels move: it falls when all images
drift into one cluster, and under too high a rate labels never settle.

Whether a cluster is too small is computed in one step and read at the start of the next, so the GPU
never waits; the memory is the same as if it were mended at once.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone, fit_statistics
from trainables.errors import UserError
from trainables.modality import OF_ONE_VIEW
from trainables.pretext._clusters import Memory, counts, mend
from trainables.schema import Crop, Dropout
from trainables.spec import Settings
from trainables.task import (
    Batch,
    Context,
    ImageSource,
    ParameterGroup,
    Task,
    dropout,
    own_parameter_group,
)  # fmt: skip
from trainables.training import distributed

A_CLUSTER, A_CLASS = 64, 10  # images of a cluster, usually; clusters of a class, at least


class AsyncBool:
    """A bool that is copied from the device asynchronously; `answer` waits for the copy."""

    def __init__(self, value: Tensor) -> None:
        self.value, self.arrived = value, None
        if value.is_cuda:
            self.value = torch.empty((), dtype=torch.bool, pin_memory=True)
            self.value.copy_(value, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record()

    def answer(self) -> bool:
        if self.arrived:
            self.arrived.synchronize()
        return bool(self.value)


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        clusters: Annotated[int, Field(ge=2, le=1 << 20)] | None = None
        min_cluster: Annotated[int, Field(ge=1, le=1 << 20)] | None = None
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.5
        dropout: Dropout = 0.5
        crop: Crop | None = None

        def check(self, context: Context) -> None:
            clusters, minimum = self.sizes(context)
            if context.images < 4:
                raise UserError(
                    f"tasks.odc: must have 4 images or more, for two clusters, and there are "
                    f"{context.images}; try '~tasks.odc'"
                )
            if clusters < 2 or clusters * minimum > context.images / 2:
                valid = replace(self, clusters=None, min_cluster=None).sizes(context)
                raise UserError(
                    f"tasks.odc.params.clusters={clusters}, min_cluster={minimum}: must be at "
                    f"least 2 clusters, and their product at most half of the {context.images} "
                    f"images; try clusters={valid[0]} min_cluster={valid[1]}"
                )

        def sizes(self, context: Context) -> tuple[int, int]:
            """Return the numbers of clusters and of images in one at least."""
            n = context.images
            usual = max(8, n // A_CLUSTER, A_CLASS * context.classes)
            clusters = self.clusters or max(2, min(usual, n // 4))
            return clusters, self.min_cluster or max(1, min(20, n // (4 * clusters)))

    version = "3"
    forwards = (1, 1)
    augmentations = OF_ONE_VIEW
    reads = 1  # whether a cluster was too small; on a GPU from the host's memory
    params: Params

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        width = backbone.width
        hidden = min(512, width)
        self.clusters, self.minimum = self.params.sizes(context)
        self.neck = nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.project = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.ReLU())
        self.head = nn.Linear(hidden // 2, self.clusters)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.memory = Memory(context.images, self.clusters, hidden // 2)
        self.short: AsyncBool | None = None  # is a cluster too small? None: unknown
        self.view = View.of(context, context.crop(self.params.crop))
        self.full = FullView(context.mean, context.std, context.image_size)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Train the head without momentum, because its labels move."""
        groups = own_parameter_group(super().parameter_groups(), self.head)
        groups[-1]["momentum"] = 0.0
        return groups

    @torch.no_grad()
    def start(self, images: ImageSource) -> None:
        """Run k-means on every image's full view, after one pass that fits BatchNorm."""
        total = self.context.global_batch

        def encode(chunk: Tensor) -> Tensor:
            return self.encode(self.full(images(chunk)))

        fit_statistics(self, encode, self.chunks())
        self.eval()
        for chunk, place in zip(self.chunks(), self.memory.bank.split(total), strict=True):
            features = distributed.all_gather(encode(chunk))
            place.copy_(F.normalize(features[: len(place)].float()))
        self.train()
        self.memory.fill(self.context.seed, self.minimum)

    def encode(self, views: Tensor) -> Tensor:
        return self.project(self.neck(self.backbone(views)))

    def chunks(self) -> list[Tensor]:
        """Return this rank's positions in every global batch of one ordered, padded pass."""
        total, device = self.context.global_batch, self.memory.bank.device
        local = total // distributed.world_size()
        count = math.ceil(self.context.images / total)
        positions = torch.arange(count * total, device=device) % self.context.images
        return list(positions.view(count, -1, local)[:, distributed.rank()])

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        device = batch.index.device.type
        with torch.autocast(device, enabled=False):
            sizes = self.mended()
        views = self.view(batch.images, batch.draw)
        hidden = self.neck(self.backbone(views))
        hidden = dropout(hidden, self.params.dropout, batch.draw, self.training)
        features = self.project(hidden)
        logits = self.head(features)
        with torch.autocast(device, enabled=False):
            weights = class_weights(sizes)
            labels = self.memory.labels[batch.index]
            each = F.cross_entropy(logits.float(), labels, reduction="none")
            loss = weighted_mean(each, labels, weights)
            right = (logits.argmax(1) == labels).float()
            accuracy = weighted_mean(right, labels, weights)
            entropy = torch.special.entr(label_distribution(sizes)).sum()
            changed = self.remember(batch, features.detach().float(), sizes)
            known = {"accuracy": accuracy, "label_entropy": entropy, "change_ratio": changed}
            return loss, known | {"largest": sizes.max(), "smallest": sizes.min()}

    @torch.no_grad()
    def mended(self) -> Tensor:
        """Mend clusters that are too small; return the sizes of all, int64 [clusters]."""
        memory = self.memory
        if self.short is None or self.short.answer():
            mend(memory.bank, memory.labels, memory.centroids, self.minimum)
        return memory.sizes()

    def remember(self, batch: Batch, features: Tensor, sizes: Tensor) -> Tensor:
        """Update the memory on every rank; return the fraction of labels that changed.

        sizes: of the clusters before.
        """
        memory = self.memory
        index, features = (distributed.all_gather(x) for x in (batch.index, features))
        left = counts(memory.labels[index], self.clusters)
        changed = memory.update(index, features, self.params.momentum)
        sizes = sizes - left + counts(memory.labels[index], self.clusters)
        if (batch.step + 1) % refresh_every(self.context.epoch_steps) == 0:
            memory.refresh()
        self.short = AsyncBool((sizes < self.minimum).any())
        return changed

    def chance_level(self) -> float:
        """Return the weighted accuracy of always naming the cluster of the largest weight."""
        return float(label_distribution(self.memory.sizes()).max())

    def score(self, history: list[dict[str, float]]) -> float:
        tail = history[len(history) // 2 :]
        loss, entropy, changed = (
            sum(row[name] for row in tail) / len(tail)
            for name in ("loss", "label_entropy", "change_ratio")
        )
        known = (entropy - loss) / entropy
        score = known * (1 - changed) if known > 0 else known
        return score if math.isfinite(score) else -math.inf


def refresh_every(epoch_steps: int) -> int:
    """Return the steps between refreshes of the centroids: at most 10, a fifth of an epoch."""
    return max(1, min(10, epoch_steps // 5))


def class_weights(sizes: Tensor) -> Tensor:
    """Weight clusters by size ** -1/2, so that rare ones count for more; the sum is 1."""
    weights = (sizes + 1e-5) ** -0.5
    return weights / weights.sum()


def label_distribution(sizes: Tensor) -> Tensor:
    """Return the [clusters] distribution of weighted labels that is known from sizes alone."""
    weighted = sizes * class_weights(sizes)
    return weighted / weighted.sum()


def weighted_mean(each: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return this rank's part of the weighted mean: the mean over ranks is that of the batch.

    each, labels: [b]; weights: [clusters].
    """
    return (each * weights[labels]).mean() / distributed.all_mean(weights[labels].mean())
