"""Classifiers to fine-tune: one class an image, or several labels.

The head begins as a linear probe of the backbone's frozen features, so that the first steps do not
distort them (Kumar et al., ICLR 2022). Classes weigh alike by logit adjustment (Menon et al., ICLR
2021): batches keep their natural frequencies, also for BatchNorm, and the loss compares logits with
the log frequency of each class added, so that the logits without it fit equally frequent classes.

classifier = made(backbone, context, labels, classes, Recipe(head_lr=10))
answered(classifier.logits(images), many=False)      # probabilities [n, classes]
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone, fit_statistics, in_one_group
from trainables.downstream import probes
from trainables.images.splits import Index
from trainables.schema import HeadRate, Schema
from trainables.task import Batch, Context, ImageSource, ParameterGroup, Task, lr_scaled
from trainables.training import distributed
from trainables.training.evaluation import BATCH, evaluating
from trainables.training.lengths import FITTED

LEARNT = 2000  # images that a head's first weights are learnt from


@dataclass(frozen=True, kw_only=True)
class Recipe(Schema):
    """How a classifier is trained.

    class_balanced: every class, or both values of a label, weigh alike. head_lr: times the
    backbone's learning rate.
    """

    class_balanced: bool = True
    head_lr: HeadRate = 10.0


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

    labels: int64 [n], the classes of the images trained on.
    """

    many = False
    log_prior: Tensor  # of the classes, [classes]; zeros if they are not balanced

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
        prior = self.prior() if recipe.class_balanced else torch.zeros(classes)
        self.register_buffer("log_prior", prior, persistent=False)

    def prior(self) -> Tensor:
        """Return the log frequency of each class; of one without images as of one image."""
        counts = torch.bincount(self.labels, minlength=self.head.out_features).clamp(min=1)
        return (counts / counts.sum()).log()

    @torch.no_grad()
    def start(self, images: ImageSource) -> None:
        """Let the head begin as a linear probe; it stays as drawn if features are not finite."""
        order = np.random.default_rng(0).permutation(len(self.labels))[:LEARNT]
        chosen = torch.from_numpy(order)
        fitted = chosen[:FITTED]
        with in_one_group(self):
            batches = fitted.chunk(max(1, len(fitted) // BATCH))  # which weigh alike
            fit_statistics(self, self.features, map(images, batches))
        with evaluating(self):
            parts = [self.features(images(part)) for part in chosen.split(BATCH)]
        features = torch.cat(parts).float().cpu()
        if features.isfinite().all():
            self.learn(features, self.labels.cpu()[chosen].numpy())
        distributed.broadcast(self.head)

    def learn(self, features: Tensor, labels: Index) -> None:
        """Make the head a linear probe of features [n, width]."""
        found = probes.linear(features, labels, self.recipe.class_balanced)
        self.head.weight[found.classes] = torch.from_numpy(found.weight).to(self.head.weight)
        self.head.bias[found.classes] = torch.from_numpy(found.bias).to(self.head.bias)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return those of the backbone and those of the head, whose learning rate is higher."""
        return lr_scaled(super().parameter_groups(), self.head, self.recipe.head_lr)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        target = self.labels[batch.index]
        accuracy = (logits.argmax(1) == target).float().mean().detach()
        return F.cross_entropy(logits + self.log_prior, target), {"accuracy": accuracy}

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

    def prior(self) -> Tensor:
        """Return zeros: the values' weights balance them."""
        return torch.zeros(self.head.out_features)

    def learn(self, features: Tensor, labels: Index) -> None:
        """Make each label's row a linear probe, where both of its values are known."""
        for k, column in enumerate(labels.T):
            known = np.flatnonzero(column >= 0)
            if len(np.unique(column[known])) == 2:
                learnt = features[known], column[known], self.recipe.class_balanced
                found = probes.linear(*learnt)
                self.head.weight[k] = torch.from_numpy(found.weight[1]).to(self.head.weight)
                self.head.bias[k] = float(found.bias[1])

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
