"""BYOL: predict how a slower copy of the network projects another view (Grill et al., 2020).

Differences from the authors' code:
- the target's EMA has a time constant of one epoch, rising to infinity by half a cosine;
- hidden layers are twice as wide as the backbone's features;
- both views use the modality's one recipe, without solarisation, in one call of the network;
- a collapse ends the stage with that reason.

A collapse takes the loss to 0, so the LR policy's score is not the loss but InfoNCE of the
predictions among the target's projections of the step's images.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augment import View
from trainables.backbone import Backbone, untracked
from trainables.errors import StageFailed
from trainables.schema import Crop
from trainables.spec import Settings
from trainables.task import Batch, Context, ImageSource, Task, follow, minus_mean
from trainables.training import distributed

DIMENSIONS = 256
TEMPERATURE = 0.2  # for the score only
COLLAPSED = 0.02  # spread of the projections over the batch; 1: random directions


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        crop: Crop = (0.2, 1.0)

    version = "1"
    forwards = (2, 4)
    params: Params
    spread: Tensor

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        width = backbone.width
        self.project = perceptron(width, 2 * width)
        self.predict = perceptron(DIMENSIONS, 2 * width)
        self.target_backbone = untracked(copy.deepcopy(backbone)).requires_grad_(False)
        self.target_project = untracked(copy.deepcopy(self.project)).requires_grad_(False)
        self.register_buffer("spread", torch.ones(()))
        self.view = View.of(context, self.params.crop)

    def start(self, images: ImageSource) -> None:  # noqa: ARG002
        """Copy the online network to the target."""
        self.target_backbone.load_state_dict(self.backbone.state_dict())
        self.target_project.load_state_dict(self.project.state_dict())

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        pair = [self.view(batch.images, batch.draw) for _ in range(2)]
        views = torch.stack(pair, 1).flatten(0, 1)
        predicted = self.predict(self.project(self.backbone(views)))
        with torch.no_grad():
            target = self.target_project(self.target_backbone(views))
        ours, theirs = (F.normalize(x.float(), dim=1) for x in (predicted, target))
        ours, theirs = ours.unflatten(0, (-1, 2)), theirs.unflatten(0, (-1, 2)).flip(1)
        loss = 2 - 2 * (ours * theirs).sum(2).mean()
        return loss, self.measure(ours.detach(), theirs, batch.draw.first)

    @torch.no_grad()
    def measure(self, ours: Tensor, theirs: Tensor, first: int) -> dict[str, Tensor]:
        """Return the metrics; ours, theirs: [b, 2, dimensions], each prediction beside its target.

        first: this rank's first position in the global batch.
        """
        everyone = distributed.all_gather(theirs)
        spread = everyone.flatten(0, 1).std(0).mean() * math.sqrt(DIMENSIONS)
        self.spread.lerp_(spread, 0.1)
        labels = torch.arange(first, first + len(ours), device=ours.device)[:, None].expand(-1, 2)
        with torch.autocast(ours.device.type, enabled=False):
            logits = torch.einsum("bvd,nvd->bnv", ours, everyone) / TEMPERATURE
        accuracy = (logits.argmax(1) == labels).float().mean()
        fresh = F.cross_entropy(logits, labels)
        return {"accuracy": accuracy, "batch_loss": fresh, "spread": spread}

    def chance_level(self) -> float:
        return 1 / self.context.global_batch

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        weight = 1 - momentum(step, self.context.steps, self.context.epoch_steps)
        follow(self.target_backbone, self.backbone, weight)
        follow(self.target_project, self.project, weight)
        if (step + 1) % self.context.epoch_steps == 0 and self.spread.item() < COLLAPSED:
            raise StageFailed(
                f"byol collapsed: at step {step + 1} the projections of different images spread "
                f"{self.spread.item():.4f} (1: random directions); try another learning rate"
            )

    def score(self, history: list[dict[str, float]]) -> float:
        return minus_mean(history[len(history) // 2 :], "batch_loss")


def perceptron(inputs: int, hidden: int) -> nn.Sequential:
    """Build the projector or the predictor: `inputs` -> `hidden` -> DIMENSIONS."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, DIMENSIONS)
    )


def momentum(step: int, steps: int, epoch_steps: int) -> float:
    """Return the EMA's momentum: half a cosine from 1 - 1 / epoch_steps (0.9 to 0.996) to 1."""
    first = min(max(1 - 1 / epoch_steps, 0.9), 0.996)
    return 1 - (1 - first) * (math.cos(math.pi * step / steps) + 1) / 2
