"""The interface of a pretext task. One file here and one YAML in `spaces/task/` make one task.

A task is an `nn.Module` around a backbone. It writes `Params` (its parameters: a frozen dataclass
of typed, bounded fields; the YAML has the defaults), `__init__` (heads, buffers), `forward` (views
and loss), `chance` and, if it needs them, `start`, `warm_steps` and `score`. Everything it must
remember between steps is a parameter or a persistent buffer: the stage checkpoints `state_dict()`
only.

Rules that make a stage's result the same on any number of ranks, and bit-equal after a resume:
- all randomness comes from `batch.draw`, never from torch's global generator (so no `nn.Dropout`);
- views of one image are stacked image by image (`torch.stack(views, 1).flatten(0, 1)`), so that a
  BatchNorm group holds the same images for any number of ranks;
- the loss is a mean over this rank's images; what spans the global batch goes through
  `trainables.distributed`, with every rank doing the same update.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trainables.schema import Schema
from trainables.training import distributed

BACKBONE_STATE = "backbone."


@dataclass(frozen=True)
class Context:
    """What a task may know of its surroundings when it is built."""

    images: int  # in the training split
    global_batch: int
    steps: int  # of this run
    epoch_steps: int  # global batches in one pass over the images
    image_size: int  # px, of a full view
    channels: int
    mean: tuple[float, ...]  # of the training split, 0..1, one a channel
    std: tuple[float, ...]
    augment: dict[str, Any]  # the modality preset (spaces/modality/*.yaml)
    seed: int


class Draw:
    """Random numbers per image of the global batch, the same on any number of ranks.

    Seeded by (seed, step): a resumed step draws what it would have drawn. The two are hashed into
    32 bits, since the CPU's generator ignores the higher ones.
    """

    def __init__(self, seed: int, step: int, local_batch: int, device: torch.device | str) -> None:
        hashed = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest()
        self.generator = torch.Generator(device).manual_seed(int.from_bytes(hashed, "big"))
        self.device, self.local = device, local_batch
        self.total = local_batch * distributed.world_size()
        self.first = local_batch * distributed.rank()

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """[b, *shape] for this rank's images."""
        values = torch.rand((self.total, *shape), generator=self.generator, device=self.device)
        return self._mine(values) * (high - low) + low

    def integers(self, *shape: int, high: int) -> Tensor:
        """[b, *shape] of 0 .. high - 1 for this rank's images."""
        values = torch.randint(
            high, (self.total, *shape), generator=self.generator, device=self.device
        )
        return self._mine(values)

    def permutation(self, n: int) -> Tensor:
        """One permutation of 0 .. n - 1, the same on every rank."""
        return torch.randperm(n, generator=self.generator, device=self.device)

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + self.local]


def dropout(x: Tensor, p: float, draw: Draw, training: bool) -> Tensor:
    """Dropout in place of `nn.Dropout`; x: [b * k, features], image by image."""
    if not training:
        return x
    kept = draw.uniform(x.shape[0] // draw.local, x.shape[1]).flatten(0, 1) >= p
    return x * kept / (1 - p)


def own_group(
    groups: list[dict[str, Any]], module: nn.Module, **options: Any
) -> list[dict[str, Any]]:
    """Parameter groups with those of `module` taken out into one of their own."""
    taken = list(module.parameters())
    names = {id(p) for p in taken}
    rest = [{**g, "params": [p for p in g["params"] if id(p) not in names]} for g in groups]
    return [*rest, {"params": taken, **options}]


@dataclass(frozen=True)
class Batch:
    """This rank's slice of one global batch, on the device."""

    images: Tensor  # uint8 [b, channels, side, side], side = the cache's
    index: Tensor  # int64 [b], positions in the training split, distinct in the global batch
    draw: Draw
    step: int


ImageSource = Callable[[Tensor], Tensor]  # int64 [n] positions -> uint8 [n, channels, side, side]


class Task(nn.Module):
    """A pretext task. Subclasses are named `Plugin`; see the module's docstring for the rules."""

    Params: ClassVar[type[Schema]]
    version = "1"  # raise it when the same specification gives other numbers

    def __init__(self, backbone: nn.Module, params: dict[str, Any], context: Context) -> None:
        super().__init__()
        self.backbone, self.params, self.context = backbone, params, context

    @staticmethod
    def check(params: dict[str, Any], context: Context) -> None:
        """Raise UserError, naming a valid value, if the parameters don't fit the data."""

    def start(self, images: ImageSource) -> None:
        """Called once at step 0 with the parent's weights in place, on every rank alike."""

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over this rank's images, and detached scalar metrics (no `.item()`).

        Among the metrics is `accuracy`: how often the task's own question is answered rightly.
        """
        raise NotImplementedError

    def chance(self) -> float:
        """The accuracy of one who guesses."""
        raise NotImplementedError

    def confusion(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """int64 [k, k]: how often each answer (row) was taken for each (column) by this rank.

        None for a task whose answers are not the same k for all images.
        """
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained: weights; then biases and BatchNorms, without weight decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        weights = [p for p in trained if p.ndim > 1]
        others = [p for p in trained if p.ndim <= 1]
        return [{"params": weights}, {"params": others, "weight_decay": 0.0}]

    def before_step(self, step: int) -> None:
        """Called between backward and the optimiser's step (to clear a gradient, say)."""

    def after_step(self, step: int) -> None:
        """Called after the optimiser's step."""

    def warm_steps(self) -> int:
        """First step whose loss says something of the learning rate."""
        return 0

    def score(self, history: list[dict[str, float]]) -> float:
        """How well a short run at one learning rate went; higher is better.

        history: one dict a step, with `loss` and the metrics, means over ranks. The default is
        minus the mean loss of the second half of the steps after `warm_steps`.
        """
        losses = [row["loss"] for row in history[self.warm_steps() :]] or [history[-1]["loss"]]
        tail = losses[len(losses) // 2 :]
        mean = sum(tail) / len(tail)
        return -mean if math.isfinite(mean) else -math.inf
