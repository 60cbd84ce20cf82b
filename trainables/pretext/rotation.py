"""Rotation: which quarter turn was applied? (Gidaris et al., 2018)

As in OpenSelfSup: one batch holds all four turns of a crop, counter-clockwise (`torch.rot90`,
k = 0..3), so that no border reveals the angle and BatchNorm always sees the same mix; the head is
one linear layer. The modality's rotation and vertical flip are off: they would make labels wrong.
An accuracy near 1/4 means that the images have no "up" (dermoscopy), not that the code is broken.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augment import View
from trainables.backbone import Backbone
from trainables.modality import OF_ONE_VIEW
from trainables.schema import Crop
from trainables.spec import Settings
from trainables.task import Batch, Context, Task


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        crop: Crop | None = None

    version = "2"
    forwards = (1, 4)
    augmentations = OF_ONE_VIEW - {"vflip", "rotate"}
    params: Params

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        upright = replace(context.augment, vflip=False, rotate=0.0)
        self.view = View.of(replace(context, augment=upright), context.crop(self.params.crop))
        self.head = nn.Linear(backbone.width, 4)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, labels = self.predict(batch)
        accuracy = (logits.argmax(1) == labels).float().mean()
        return F.cross_entropy(logits, labels), {"accuracy": accuracy}

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [4 b, 4] and labels [4 b], image by image."""
        views = quarter_turns(self.view(batch.images, batch.draw))
        logits = self.head(self.backbone(views)).float()
        return logits, torch.arange(4, device=logits.device).repeat(len(batch.index))

    def chance_level(self) -> float:
        return 1 / 4

    def confusion(self, batch: Batch) -> Tensor:
        """Count the answers for the 4 turns, counter-clockwise."""
        logits, labels = self.predict(batch)
        return torch.bincount(4 * labels + logits.argmax(1), minlength=16).view(4, 4)


def quarter_turns(x: Tensor) -> Tensor:
    """Turn each image 0 to 3 times: [b, c, s, s] -> [4 b, c, s, s], image by image."""
    return torch.stack([torch.rot90(x, k, (2, 3)) for k in range(4)], 1).flatten(0, 1)
