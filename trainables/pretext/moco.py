"""MoCo v2: which key is another view of this image, and not one of the queue? (Chen et al., 2020)

Differences from the authors' code:
- the loss is symmetric: each of two views is query and key; the queue takes the second view's key;
- the queue holds at most a quarter of the images; the EMA's time constant a tenth of the run;
- the queue records each key's image, so that no image is its own negative;
- the queue starts with keys of the first encoder, so that the loss is meaningful from step 0;
- the shuffle permutes BatchNorm groups, so that it works on one process too (`bn_groups` = 1: it
  changes nothing, and BatchNorm may leak which key is the positive);
- the second view may be of another image of the patient group (MICLe, Azizi et al., 2021).

The LR policy's score is InfoNCE among the keys of the step itself, not the loss: the faster the
encoder moves, the easier old keys in the queue are to tell apart, which flatters a high rate.
"""

import copy
import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import View
from trainables.backbone import Backbone, untracked
from trainables.errors import UserError
from trainables.modality import OF_TWO_VIEWS
from trainables.schema import Crop, Temperature
from trainables.spec import Settings
from trainables.task import (
    Batch,
    Context,
    Draw,
    ImageSource,
    Positives,
    Task,
    follow,
    follow_weight,
    minus_mean,
    owners,
)  # fmt: skip
from trainables.training import distributed

DIMENSIONS = 128
MOST_KEYS = 65_536  # as published
START = 1 << 31  # first step number of the draws in `start`


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        queue: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
        crop: Crop | None = None
        temperature: Temperature = 0.2
        positives: Positives = "image"

        def check(self, context: Context) -> None:
            batch, most, size = context.global_batch, context.images // 4, self.queue
            groups, fits = context.bn_groups, most // context.bn_groups * context.bn_groups
            if batch > most and fits < 2 * groups:
                raise UserError(
                    f"tasks.moco: must have {8 * groups} images or more, as its queue holds a "
                    f"quarter of them, and there are {context.images}; try '~tasks.moco'"
                )
            if batch > most:
                raise UserError(
                    f"profile.batch={batch}: must be at most {most} for moco, whose queue holds "
                    f"whole batches and a quarter of the {context.images} images; try {fits} or "
                    "less"
                )
            if size and (size % batch or size > most):
                raise UserError(
                    f"tasks.moco.params.queue={size}: must be whole batches of {batch} and at most "
                    f"a quarter of the {context.images} images; try "
                    f"{queue_size(context.images, batch)} or null"
                )

        @property
        def grouped(self) -> bool:
            return self.positives == "group"

    version = "2"
    forwards = (2, 4)
    augmentations = OF_TWO_VIEWS
    params: Params
    queue: Tensor
    queue_index: Tensor
    pointer: Tensor
    owner: Tensor

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        width = backbone.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIMENSIONS))
        self.key_backbone = untracked(copy.deepcopy(backbone)).requires_grad_(False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(False)
        size = self.params.queue or queue_size(context.images, context.global_batch)
        self.register_buffer("queue", torch.zeros(size, DIMENSIONS))
        self.register_buffer("queue_index", torch.full((size,), -1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("owner", owners(context), persistent=False)
        self.view = View.of(context, context.crop(self.params.crop))

    @torch.no_grad()
    def start(self, images: ImageSource) -> None:
        """Copy the query encoder to the key encoder; fill the queue with keys of random images."""
        self.key_backbone.load_state_dict(self.backbone.state_dict())
        self.key_head.load_state_dict(self.head.state_dict())
        total, device = self.context.global_batch, self.queue.device
        local = total // distributed.world_size()
        order = Draw(self.context.seed, START, local, device).permutation(self.context.images)
        for number, chunk in enumerate(order[: len(self.queue)].split(total)):
            draw = Draw(self.context.seed, START + 1 + number, local, device)
            index = chunk[draw.first : draw.first + local]
            keys = self.keys(self.view(images(index), draw), draw)
            self.enqueue(keys, distributed.all_gather(index))

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        self.update_key_encoder(batch.step)
        views = self.view(batch.paired, batch.draw, 2)
        queries = F.normalize(self.head(self.backbone(views)).float())
        keys = self.keys(views, batch.draw).unflatten(0, (-1, 2)).flip(1)  # of the other view
        index = distributed.all_gather(batch.index)
        mine = slice(batch.draw.first, batch.draw.first + batch.draw.local)
        temperature = self.params.temperature
        own = self.owner[batch.index][:, None] == self.owner[self.queue_index]
        negatives, own = self.queue.clone(), own.repeat_interleave(2, 0)
        logits = info_logits(queries, keys[mine].flatten(0, 1), negatives, own, temperature)
        first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        loss = F.cross_entropy(logits, first)
        pairs = queries.detach().unflatten(0, (-1, 2))
        fresh = among(pairs, keys, batch.draw.first, temperature)
        self.enqueue(keys[:, 0], index)
        accuracy = (logits.argmax(1) == 0).float().mean()
        return loss, {"accuracy": accuracy, "batch_loss": fresh}

    @torch.no_grad()
    def update_key_encoder(self, step: int) -> None:
        """Move the parameters only: in training mode the key encoder's statistics are unused."""
        weight = follow_weight(step, self.context.steps)
        follow(self.key_backbone, self.backbone, weight)
        follow(self.key_head, self.head, weight)

    @torch.no_grad()
    def keys(self, views: Tensor, draw: Draw) -> Tensor:
        """Return the keys of all ranks' views, encoded in shuffled BatchNorm groups."""
        local, views = len(views), distributed.all_gather(views)
        order, first = draw.permutation(len(views)), distributed.rank() * local
        mine = views[order[first : first + local]]
        keys = F.normalize(self.key_head(self.key_backbone(mine)).float())
        return distributed.all_gather(keys)[order.argsort()]

    def enqueue(self, keys: Tensor, index: Tensor) -> None:
        """Overwrite the oldest keys; only after the logits, so that no key is its own negative."""
        slots = self.pointer + torch.arange(len(keys), device=keys.device)
        self.queue[slots] = keys
        self.queue_index[slots] = index
        self.pointer.add_(len(keys)).remainder_(len(self.queue))

    def warm_steps(self) -> int:
        """Return the steps of one turnover of the queue."""
        return len(self.queue) // self.context.global_batch

    def chance_level(self) -> float:
        return 1 / (1 + len(self.queue))

    def score(self, history: list[dict[str, float]]) -> float:
        return minus_mean(history[min(self.warm_steps(), len(history) // 2) :], "batch_loss")


def queue_size(images: int, batch: int) -> int:
    """Return the largest power of two up to a quarter of the images, in whole batches."""
    power = min(1 << (images // 4).bit_length() - 1, MOST_KEYS)
    return power // batch * batch or batch


def info_logits(
    queries: Tensor, positives: Tensor, negatives: Tensor, excluded: Tensor, temperature: float
) -> Tensor:
    """Return logits [b, 1 + K]: each query with its key, then with the K negatives.

    queries, positives: [b, dimensions]; negatives: [K, dimensions]; excluded: bool [b, K].
    """
    with torch.autocast(queries.device.type, enabled=False):
        first = (queries * positives).sum(1, keepdim=True)
        others = (queries @ negatives.T).masked_fill(excluded, -math.inf)
        return torch.cat([first, others], 1) / temperature


def among(queries: Tensor, keys: Tensor, first: int, temperature: float) -> Tensor:
    """Return InfoNCE of this rank's queries among the keys of the global batch.

    queries: [b, 2, dimensions]; keys: [B, 2, dimensions], each beside its query, of which `first`
    is the first image's.
    """
    labels = torch.arange(first, first + len(queries), device=keys.device)[:, None].expand(-1, 2)
    with torch.autocast(queries.device.type, enabled=False):
        logits = torch.einsum("bvd,nvd->bnv", queries, keys) / temperature
        return F.cross_entropy(logits, labels)
