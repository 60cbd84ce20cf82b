"""BYOL: predict how a slower copy of the network projects another view (Grill et al., 2020).

Differences from the authors' code:
- the target's EMA has a time constant of at most a tenth of the run, rising to infinity by half a
  cosine;
- hidden layers are twice as wide as the backbone's features;
- views differ in solarisation only (of the second), not in blur, and go through the network in one
  call;
- the second view may be of another image of the patient group (MICLe, Azizi et al., 2021);
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
from trainables.modality import OF_TWO_VIEWS
from trainables.schema import Crop
from trainables.spec import Settings
from trainables.task import (
    Batch,
    Context,
    ImageSource,
    Positives,
    Task,
    follow,
    follow_weight,
    minus_mean,
)  # fmt: skip
from trainables.training import distributed

DIMENSIONS = 256
TEMPERATURE = 0.2  # for the score only
COLLAPSED = 0.02  # spread of the projections over the batch; 1: random directions


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        crop: Crop | None = None
        positives: Positives = "image"

        @property
        def grouped(self) -> bool:
            return self.positives == "group"

    version = "2"
    forwards = (2, 4)
    augmentations = OF_TWO_VIEWS
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
        self.view = View.of(context, context.crop(self.params.crop))

    def start(self, images: ImageSource) -> None:  # noqa: ARG002
        """Copy the online network to the target."""
        self.target_backbone.load_state_dict(self.backbone.state_dict())
        self.target_project.load_state_dict(self.project.state_dict())

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        views = self.view(batch.paired, batch.draw, 2)
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
        weight = falling_weight(step, self.context.steps)
        follow(self.target_backbone, self.backbone, weight)
        follow(self.target_project, self.project, weight)
        if (step + 1) % self.context.watch_steps == 0 and self.spread.item() < COLLAPSED:
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


def falling_weight(step: int, steps: int) -> float:
    """Return `follow_weight`, brought to 0 by half a cosine."""
    return follow_weight(step, steps) * (math.cos(math.pi * step / steps) + 1) / 2
