"""SwAV: predict one view's cluster code from the others (Caron et al., 2020).

Differences from the authors' code:
- prototypes and queue are sized by the data, at most as published; the freeze is in epochs,
  at most a tenth of the run, the queue's start a fraction;
- the queue is one persistent buffer, the same on every rank, filled from the first step on;
- scores and Sinkhorn are float32, with exp((s - 1) / epsilon), which cannot overflow;
- codes are those of the concatenated batch on any number of ranks;
- a collapse ends the stage with that reason.

Collapsed means that after half of the run codes are flat and the loss is no better than
ln(prototypes). The loss alone is not enough: a slow start passes ln(prototypes) too, from above.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import Pixels, View
from trainables.backbone import Backbone
from trainables.errors import StageFailed, UserError
from trainables.schema import Crop, Fraction, Temperature
from trainables.spec import Settings
from trainables.task import Batch, Context, ParameterGroup, Task, own_parameter_group
from trainables.training import distributed

DIMENSIONS = 128
LARGE = 2  # crops whose codes are predicted
LARGE_CROP, SMALL_CROP = (0.14, 1.0), (0.05, 0.14)  # published areas
MOST_PROTOTYPES, MOST_QUEUED = 3000, 3840  # as published
PER_PROTOTYPE = 4 / 3  # features in batch and queue; published: 4096 for 3000
SETTLED = 200  # steps, or three epochs: before them nothing is called a collapse
COLLAPSED = 0.998  # loss and entropy of a code, both divided by ln(prototypes)


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        prototypes: Annotated[int, Field(ge=2, le=100_000)] | None = None
        queue: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
        queue_start: Fraction = 0.08
        freeze_epochs: Annotated[float, Field(ge=0, le=100_000)] = 1.0
        crop: Crop | None = None
        small_crop: Crop | None = None
        small_crops: Annotated[int, Field(ge=0, le=32)] = 4
        temperature: Temperature = 0.1
        epsilon: Annotated[float, Field(ge=0.02, le=1)] = 0.05  # smaller ones underflow in float32
        iterations: Annotated[int, Field(ge=1, le=100)] = 3

        def check(self, context: Context) -> None:
            batch = context.global_batch
            prototypes, queue = self.sizes(context)
            if queue % batch or queue > context.images:
                valid = replace(self, queue=None).sizes(context)[1]
                raise UserError(
                    f"tasks.swav.params.queue={queue}: must be whole batches of {batch} and at "
                    f"most the {context.images} images; try {valid} or null"
                )
            most = int((batch + queue) / PER_PROTOTYPE)
            if not 2 <= prototypes <= most:
                valid = replace(self, prototypes=None).sizes(context)[0]
                raise UserError(
                    f"tasks.swav.params.prototypes={prototypes}: must be from 2 to {most}, three "
                    f"quarters of batch and queue together ({batch} + {queue}); try {valid} or null"
                )

        def sizes(self, context: Context) -> tuple[int, int]:
            """Return the numbers of prototypes and of queued features."""
            batch = context.global_batch
            power = 1 << max(context.images // 12, 1).bit_length() - 1
            queue = self.queue or max(min(power, MOST_QUEUED) // batch, 1) * batch
            most = min(int((batch + queue) / PER_PROTOTYPE), MOST_PROTOTYPES)
            return self.prototypes or max(2, min(max(context.images // 64, 16), most)), queue

        def sides(self, context: Context) -> tuple[int, ...]:
            size = context.image_size
            return (size, small_size(size)) if self.small_crops else (size,)

    version = "3"
    forwards = (2, 6)
    params: Params
    queue: Tensor
    level: Tensor

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        width = backbone.width
        self.head = nn.Sequential(
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, DIMENSIONS)
        )
        prototypes, queue = self.params.sizes(context)
        self.prototypes = nn.Linear(DIMENSIONS, prototypes, bias=False)
        self.normalise_prototypes()
        self.register_buffer("queue", torch.zeros(LARGE, queue, DIMENSIONS))
        self.register_buffer("level", torch.zeros(2))  # loss and entropy, running means
        frozen = round(self.params.freeze_epochs * context.epoch_steps)
        self.freeze = min(frozen, max(1, context.steps // 10))
        full = queue // context.global_batch
        self.queue_start = max(full, round(self.params.queue_start * context.steps))
        small = replace(context, image_size=small_size(context.image_size))
        self.large_view = View.of(context, context.crop(self.params.crop, LARGE_CROP))
        small_crop = self.params.small_crop or context.augment.small_crop or SMALL_CROP
        self.small_view = View.of(small, small_crop)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        embedded = self.embed(batch)
        with torch.autocast(embedded.device.type, enabled=False):
            embedded = F.normalize(embedded.float(), dim=2)
            scores = embedded @ self.prototypes.weight.T
            codes = self.codes(embedded.detach(), scores.detach(), batch.step)
            loss = swapped_loss(scores, codes, self.params.temperature)
        self.enqueue(embedded.detach()[:, :LARGE])
        flatness = entropy(codes).mean()
        shared = torch.stack([loss.detach() / math.log(codes.shape[2]), flatness])
        self.level.lerp_(distributed.all_mean(shared), 0.1 if batch.step else 1.0)
        accuracy = (scores[:, :LARGE].flip(1).argmax(2) == codes.argmax(2)).float().mean()
        return loss, {"accuracy": accuracy, "code_entropy": flatness}

    def chance_level(self) -> float:
        return 1 / self.prototypes.out_features

    def embed(self, batch: Batch) -> Tensor:
        """Return embeddings [b, crops, dimensions], the large crops first."""
        kinds = (self.large_view, LARGE), (self.small_view, self.params.small_crops)
        pixels, features = Pixels(batch.images), []
        for view, crops in (kind for kind in kinds if kind[1]):
            encoded = self.backbone(view(pixels, batch.draw, crops))
            features.append(encoded.unflatten(0, (len(batch.index), crops)))
        joined = torch.cat(features, 1)
        return self.head(joined.flatten(0, 1)).unflatten(0, joined.shape[:2])

    @torch.no_grad()
    def codes(self, embedded: Tensor, scores: Tensor, step: int) -> Tensor:
        """Solve the codes [b, large crops, prototypes], with this rank's part of the queue.

        embedded: [b, crops, dimensions]; scores: [b, crops, prototypes], their cosines. The queue
        is used from step `queue_start` on.
        """
        codes, part = [], self.queue.shape[1] // distributed.world_size()
        first = part * distributed.rank()
        for crop in range(LARGE):
            rows = scores[:, crop]
            if step >= self.queue_start:
                mine = self.queue[crop, first : first + part]
                rows = torch.cat([mine @ self.prototypes.weight.T, rows])
            solved = sinkhorn(rows, self.params.epsilon, self.params.iterations)
            codes.append(solved[-len(embedded) :])
        return torch.stack(codes, 1)

    @torch.no_grad()
    def enqueue(self, embedded: Tensor) -> None:
        """Put [b, large crops, dimensions] of every rank at the front of the queue."""
        fresh = distributed.all_gather(embedded).transpose(0, 1)
        self.queue.copy_(torch.cat([fresh, self.queue[:, : -fresh.shape[1]]], 1))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Separate the prototypes: fused SGD needs momentum for all or none of its parameters."""
        return own_parameter_group(super().parameter_groups(), self.prototypes)

    def before_step(self, step: int) -> None:
        """Freeze the prototypes by clearing their gradient, which DDP does not notice."""
        if step < self.freeze:
            self.prototypes.weight.grad = None

    def after_step(self, step: int) -> None:
        if step >= self.freeze:
            self.normalise_prototypes()
        done, context = step + 1, self.context
        settled = max(min(3 * context.epoch_steps, SETTLED), context.steps // 2)
        if done % context.watch_steps == 0 and done >= settled:
            self.stop_if_collapsed(done)

    def stop_if_collapsed(self, done: int) -> None:
        loss, flatness = self.level.tolist()
        if min(loss, flatness) > COLLAPSED:
            raise StageFailed(
                f"swav collapsed: at step {done} the loss is {loss:.4f} and the entropy of a code "
                f"{flatness:.4f} of ln({self.prototypes.out_features}), as if all images were one; "
                "try epsilon 0.03, another learning rate or a longer freeze"
            )

    @torch.no_grad()
    def normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))


def small_size(size: int) -> int:
    """Return the side of a small crop, px: 96 for a view of 224."""
    return max(32, round(size * 3 / 7 / 8) * 8)


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Turn cosines [n, prototypes] into codes: rows sum to 1, columns have equal sums over ranks.

    Constant factors cancel when rows are normalised, so means over ranks replace sums.
    """
    codes = ((scores.float() - 1) / epsilon).exp()
    for _ in range(iterations):
        codes = codes / distributed.all_mean(codes.sum(0))
        codes = codes / codes.sum(1, keepdim=True)
    return codes


def swapped_loss(scores: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Average the cross-entropy of each large crop's code with every other crop's prediction.

    scores: [b, crops, prototypes], large crops first; codes: [b, large crops, prototypes].
    """
    log_p = (scores / temperature).log_softmax(2)
    pairs = -torch.einsum("bip,bjp->bij", codes, log_p).mean(0)
    large, crops = pairs.shape
    return (pairs.sum() - pairs.diagonal().sum()) / (large * (crops - 1))


def entropy(codes: Tensor) -> Tensor:
    """Return each code's entropy / ln K: [..., K] -> [...]; 1 is uniform."""
    return torch.special.entr(codes).sum(-1) / math.log(codes.shape[-1])
