"""Classifiers to fine-tune: one class an image, or several labels.

classifier = made(backbone, context, labels, classes, Recipe(head_lr=10))
answered(classifier.logits(images), many=False)      # probabilities [n, classes]
"""

from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone
from trainables.schema import Schema
from trainables.task import Batch, Context, ParameterGroup, Task
from trainables.training import distributed


@dataclass(frozen=True, kw_only=True)
class Recipe(Schema):
    """How a classifier is trained.

    class_balanced: every class, or both values of a label, weigh alike. head_lr: times the
    backbone's learning rate.
    """

    class_balanced: bool = True
    head_lr: Annotated[float, Field(gt=0, le=1000)] = 10.0


def made(
    backbone: Backbone, context: Context, labels: Tensor, classes: int, recipe: Recipe
) -> "Classifier":
    """Return the fresh classifier of these labels."""
    kind = ManyClassifier if labels.ndim == 2 else Classifier
    return kind(backbone, context, labels, classes, recipe)


def answered(logits: Tensor, many: bool) -> Tensor:
    """Return probabilities: [n, classes], of several labels each by itself."""
    return logits.sigmoid() if many else logits.softmax(1)


class Classifier(Task):
    """A linear layer on pooled features, trained by cross-entropy.

    labels: int64 [n], the classes of the images trained on. The feed balances them.
    """

    many = False

    def __init__(
        self, backbone: Backbone, context: Context, labels: Tensor, classes: int, recipe: Recipe
    ) -> None:
        super().__init__(backbone, {}, context)
        self.labels: Tensor
        self.recipe = recipe
        self.head = nn.Linear(backbone.width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.view = View.of(replace(context, augment=context.augment.mild()), (0.5, 1.0))
        self.full = FullView(context.mean, context.std, context.image_size)
        self.register_buffer("labels", labels, persistent=False)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return those of the backbone and those of the head, whose learning rate is higher."""
        head = {id(p) for p in self.head.parameters()}
        found: list[ParameterGroup] = []
        for group in super().parameter_groups():
            for inside, scale in ((False, 1.0), (True, self.recipe.head_lr)):
                if own := [p for p in group["params"] if (id(p) in head) == inside]:
                    found.append({**group, "params": own, "lr_scale": scale})
        return found

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        target = self.labels[batch.index]
        accuracy = (logits.argmax(1) == target).float().mean().detach()
        return F.cross_entropy(logits, target), {"accuracy": accuracy}

    def chance_level(self) -> float:
        return 1 / self.head.out_features

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features: uint8 [n, channels, side, side] -> [n, width]."""
        return self.backbone(self.full(images))

    def logits(self, images: Tensor) -> Tensor:
        """Return class logits: uint8 [n, channels, side, side] -> [n, classes]."""
        return self.head(self.features(images))

    def probabilities(self, images: Tensor) -> Tensor:
        """Return class probabilities: uint8 [n, channels, side, side] -> [n, classes]."""
        return answered(self.logits(images), self.many)


class ManyClassifier(Classifier):
    """One sigmoid a label, trained by binary cross-entropy where the label is known.

    labels: int64 [n, labels], 1 or 0; -1 where it is not known, which weighs nothing. The loss is
    the weighted mean over the known labels of the global batch: rare labels do not scale it.
    """

    many = True

    def __init__(
        self, backbone: Backbone, context: Context, labels: Tensor, classes: int, recipe: Recipe
    ) -> None:
        super().__init__(backbone, context, labels, classes, recipe)
        self.weight: Tensor  # of the values 0 and 1 of each label
        counts = torch.stack([(labels == value).sum(0) for value in (0, 1)]).float()
        weight = counts.sum(0) / (2 * counts.clamp(min=1))
        given = weight if recipe.class_balanced else torch.ones_like(weight)
        self.register_buffer("weight", given, persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        labels = self.labels[batch.index]
        known, true = labels >= 0, labels == 1
        weight = torch.where(true, self.weight[1], self.weight[0]) * known
        losses = F.binary_cross_entropy_with_logits(logits, true.float(), weight, reduction="sum")
        right = ((logits > 0) == true) & known
        accuracy = (right.sum() / known.sum().clamp(min=1)).detach()
        return losses / distributed.all_mean(weight.sum()).clamp(min=1e-6), {"accuracy": accuracy}

    def chance_level(self) -> float:
        return 0.5
