"""The types that every pretext task shares; the rules for writing one are in `pretext/`."""

import hashlib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar, Literal, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from trainables.backbone import Backbone
from trainables.modality import AUGMENTATIONS, Preset
from trainables.schema import Crop, Schema, read
from trainables.spec import Settings
from trainables.training import distributed

PerChannel = tuple[float, ...]
WATCHED = 100  # steps; before them nothing is called a collapse
Positives = Literal["image", "group"]  # what two views are of: an image, or a patient group


@dataclass(frozen=True)
class Context:
    """What a task may know about its data and its run when it is built."""

    images: int  # in the training split
    global_batch: int
    steps: int  # of this run
    epoch_steps: int  # global batches in one pass over the images
    image_size: int  # side of a full view, px
    channels: int
    mean: PerChannel  # of the training split's pixels, 0..1, one per channel
    std: PerChannel
    augment: Preset  # of the modality, for this task
    seed: int
    classes: int = 0  # that the labelled images have; 0: not known
    bn_groups: int = 1  # in which BatchNorm splits the global batch
    patient_groups: tuple[int, ...] | None = None  # of the images, if the task is `grouped`

    @property
    def empty(self) -> Tensor:
        """An image of a full view's size without anything on it: [1, channels, size, size]."""
        return torch.zeros(1, self.channels, self.image_size, self.image_size)

    @property
    def watch_steps(self) -> int:
        """Steps between two checks for a collapse: an epoch, or a tenth of a run of few epochs."""
        return min(self.epoch_steps, max(WATCHED, self.steps // 10))

    def crop(self, given: Crop | None, usual: Crop = (0.2, 1.0)) -> Crop:
        """Return the range of a crop's area: the user's, else the modality's, else the task's."""
        return given or self.augment.crop or usual


class Draw:
    """Random numbers per image of the global batch, the same on any number of ranks.

    The generator is seeded by (seed, step), so a resumed step repeats its draws. The pair is hashed
    to 32 bits because the CPU generator ignores higher ones.
    """

    def __init__(self, seed: int, step: int, local_batch: int, device: torch.device | str) -> None:
        hashed = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest()
        self.generator = torch.Generator(device).manual_seed(int.from_bytes(hashed, "big"))
        self.device, self.local = device, local_batch
        self.total = local_batch * distributed.world_size()
        self.first = local_batch * distributed.rank()

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Return uniform float32 [b, *shape] for this rank's images."""
        values = torch.rand((self.total, *shape), generator=self.generator, device=self.device)
        return values[self.first : self.first + self.local] * (high - low) + low

    def permutation(self, n: int) -> Tensor:
        """Return one permutation of 0 .. n - 1, the same on every rank."""
        return torch.randperm(n, generator=self.generator, device=self.device)


def dropout(x: Tensor, p: float, draw: Draw, training: bool) -> Tensor:
    """Apply dropout with random numbers from `draw`; x: [b * k, features], image by image."""
    if not training:
        return x
    kept = draw.uniform(x.shape[0] // draw.local, x.shape[1]).flatten(0, 1) >= p
    return x * kept / (1 - p)


class ParameterGroup(TypedDict):
    """Parameters that the optimiser trains alike; a missing value is the optimiser's own."""

    params: list[nn.Parameter]
    weight_decay: NotRequired[float]
    momentum: NotRequired[float]
    lr_scale: NotRequired[float]  # factor of the learning rate


def undecayed(module: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that a model of timm's trains without weight decay."""
    said = getattr(module, "no_weight_decay", None)
    named = said() if callable(said) else ()
    return [own for name, own in module.named_parameters() if name in named]


def own_parameter_group(groups: list[ParameterGroup], module: nn.Module) -> list[ParameterGroup]:
    """Move the parameters of `module` into a parameter group of their own, the last one."""
    taken = list(module.parameters())
    names = {id(p) for p in taken}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in names]
    return [*groups, {"params": taken}]


def lr_scaled(
    groups: list[ParameterGroup], module: nn.Module, times: float
) -> list[ParameterGroup]:
    """Give `module` parameter groups of its own, with `times` the learning rate of the others."""
    taken = {id(p) for p in module.parameters()}
    found: list[ParameterGroup] = []
    for group in groups:
        for inside, scale in ((False, 1.0), (True, times)):
            if own := [p for p in group["params"] if (id(p) in taken) == inside]:
                found.append({**group, "params": own, "lr_scale": scale})
    return found


def follow(slow: nn.Module, fast: nn.Module, weight: float) -> None:
    """Move the parameters of `slow` towards those of `fast`: slow += weight * (fast - slow)."""
    torch._foreach_lerp_([*slow.parameters()], [*fast.parameters()], weight)


def follow_weight(step: int, steps: int) -> float:
    """Return the weight with which a slower copy follows after `step` of `steps`.

    Its inverse, the steps that the copy averages over, rises from 100 to 1,000: as many as have
    been done, and never above a tenth of the run, so that every run leaves its start behind.
    """
    return 1 / min(max(step, 100), max(steps / 10, 10), 1000)


def minus_mean(rows: list[dict[str, float]], name: str) -> float:
    """Return minus the mean of one metric, -inf if it is not finite."""
    mean = sum(row[name] for row in rows) / len(rows)
    return -mean if math.isfinite(mean) else -math.inf


@dataclass(frozen=True)
class Batch:
    """This rank's slice of one global batch, on the device."""

    images: Tensor  # uint8 [b, channels, side, side], at the cache's side
    index: Tensor  # int64 [b], positions; distinct in a pretext task's global batch
    draw: Draw
    step: int
    partners: Tensor | None = None  # as `images`: others of the same patient groups, if `grouped`

    @property
    def paired(self) -> Tensor:
        """Return what two views are of: the images, or each with its partner [2 b, ...]."""
        if self.partners is None:
            return self.images
        return torch.stack([self.images, self.partners], 1).flatten(0, 1)


def owners(context: Context) -> Tensor:
    """Return for each image whose it is, int64 [images]: a patient group's, or its own."""
    known = context.patient_groups or range(context.images)
    return torch.tensor(known)


ImageSource = Callable[[Tensor], Tensor]  # int64 [n] positions -> uint8 [n, channels, side, side]


class Task(nn.Module):
    """A pretext task. A subclass is named `Plugin`; the rules are in `trainables/pretext/`."""

    @dataclass(frozen=True)
    class Params(Schema):
        """The task's parameters."""

        def check(self, context: Context) -> None:
            """Raise UserError, naming a valid value, if the parameters don't fit the data."""

        def sides(self, context: Context) -> tuple[int, ...]:
            """Return the sides of the views that the backbone sees, px."""
            return (context.image_size,)

        def enlarged(self, image_size: int, decoded: int) -> float:  # noqa: ARG002
            """Return how many times parts of an image are enlarged; 1.0 for whole views.

            image_size: side of a view, px; decoded: side of the decoded images, px.
            """
            return 1.0

        @property
        def grouped(self) -> bool:
            """Whether the task uses patient groups: batches have partners then."""
            return False

    version: ClassVar[str]  # a literal, raised when an unchanged specification gives other numbers
    forwards: ClassVar[tuple[int, int]]  # backbone calls in a step, images in them for each image
    augmentations: ClassVar[Collection[str]] = AUGMENTATIONS  # of the modality, that views use
    reads = 0  # values that a step reads back from the device, at most
    backbone: Backbone
    params: Params

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__()
        self.backbone, self.context = backbone, context
        self.params = read(self.Params, params)

    def start(self, images: ImageSource) -> None:
        """Run once before step 0, on every rank, with the parent's weights loaded."""

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return this rank's mean loss and detached scalar metrics (never call `.item()`).

        The metrics include `accuracy`: how often the task's own question is answered correctly.
        """
        raise NotImplementedError

    def chance_level(self) -> float:
        """Return the accuracy of guessing, 0..1."""
        raise NotImplementedError

    def confusion(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Count this rank's answers: int64 [k, k], rows = truth, columns = prediction.

        None for a task that does not ask the same question with k answers of every image.
        """
        return None

    def shortcut(self, batch: Batch) -> Tensor | None:  # noqa: ARG002
        """Return two accuracies [2]: as asked, and without what the answer should need.

        None for a task that has no such control. Called in evaluation mode.
        """
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return two parameter groups: weights; biases, norms and embeddings without weight decay.

        Embeddings are those that timm's models name: of positions, the class token.
        """
        spared = {id(p) for module in self.modules() for p in undecayed(module)}
        trained = [p for p in self.parameters() if p.requires_grad]
        weights = [p for p in trained if p.ndim > 1 and id(p) not in spared]
        others = [p for p in trained if p.ndim <= 1 or id(p) in spared]
        return [{"params": weights}, {"params": others, "weight_decay": 0.0}]

    def before_step(self, step: int) -> None:
        """Run between backward and the optimiser's step, for example to clear a gradient."""

    def after_step(self, step: int) -> None:
        """Run after the optimiser's step."""

    def warm_steps(self) -> int:
        """Return the first step whose loss is informative about the learning rate."""
        return 0

    def score(self, history: list[dict[str, float]]) -> float:
        """Score a short run at one learning rate; higher is better, -inf if not finite.

        history: one dict per step, `loss` and metrics as means over ranks. By default the score is
        minus the mean loss over the second half of the steps after `warm_steps`.
        """
        rows = history[self.warm_steps() :] or history[-1:]
        return minus_mean(rows[len(rows) // 2 :], "loss")
