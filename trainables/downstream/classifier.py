"""Classifiers to fine-tune: one class an image, or several labels.

classifier = made(backbone, context, labels, classes, balanced=True)
answered(classifier.logits(images), many=False)      # probabilities [n, classes]
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone
from trainables.task import Batch, Context, Task


def made(
    backbone: Backbone, context: Context, labels: Tensor, classes: int, balanced: bool
) -> "Classifier":
    """Return the fresh classifier of these labels. balanced: weight the loss."""
    kind = ManyClassifier if labels.ndim == 2 else Classifier
    classifier = kind(backbone, context, labels, classes)
    if balanced:
        classifier.balance()
    return classifier


def answered(logits: Tensor, many: bool) -> Tensor:
    """Return probabilities: [n, classes], of several labels each by itself."""
    return logits.sigmoid() if many else logits.softmax(1)


class Classifier(Task):
    """A linear layer on pooled features, trained by cross-entropy.

    labels: int64 [n], the classes of the images trained on.
    """

    many = False

    def __init__(self, backbone: Backbone, context: Context, labels: Tensor, classes: int) -> None:
        super().__init__(backbone, {}, context)
        self.labels: Tensor
        self.weight: Tensor
        self.head = nn.Linear(backbone.width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.view = View.of(replace(context, augment=context.augment.mild()), (0.5, 1.0))
        self.full = FullView(context.mean, context.std, context.image_size)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("weight", torch.ones(classes), persistent=False)

    def balance(self) -> None:
        """Weight classes by inverse frequency, with mean weight 1 over the labels."""
        counts = torch.bincount(self.labels, minlength=len(self.weight)).clamp(min=1)
        self.weight = len(self.labels) / (len(counts) * counts.float())

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        target = self.labels[batch.index]
        losses = F.cross_entropy(logits, target, weight=self.weight, reduction="none")
        accuracy = (logits.argmax(1) == target).float().mean().detach()
        return losses.mean(), {"accuracy": accuracy}

    def chance_level(self) -> float:
        return 1 / len(self.weight)

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

    labels: int64 [n, labels], 1 or 0; -1 where it is not known, which weighs nothing. Weights have
    mean 1 over the known labels of all images, not of a batch: so the loss of a batch does not
    depend on how ranks share it.
    """

    many = True

    def __init__(self, backbone: Backbone, context: Context, labels: Tensor, classes: int) -> None:
        super().__init__(backbone, context, labels, classes)
        known = (labels >= 0).float().mean().clamp(min=1e-6)
        self.weight = torch.ones(2, classes) / known  # of the values 0 and 1 of each label

    def balance(self) -> None:
        """Weight both values of every label by inverse frequency."""
        counts = torch.stack([(self.labels == value).sum(0) for value in (0, 1)]).float()
        self.weight = self.weight * counts.sum(0) / (2 * counts.clamp(min=1))

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        labels = self.labels[batch.index]
        known, true = labels >= 0, labels == 1
        weight = torch.where(true, self.weight[1], self.weight[0]) * known
        losses = F.binary_cross_entropy_with_logits(logits, true.float(), weight, reduction="none")
        right = ((logits > 0) == true) & known
        return losses.mean(), {"accuracy": (right.sum() / known.sum().clamp(min=1)).detach()}

    def chance_level(self) -> float:
        return 0.5
