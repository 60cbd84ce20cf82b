"""Is this image brighter than most of its batch?"""

import torch.nn.functional as F
from torch import Tensor, nn

from trainables.augment import View
from trainables.backbone import Backbone
from trainables.spec import Settings
from trainables.task import Batch, Context, Task


class Plugin(Task):
    version = "1"
    forwards = (1, 1)

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        self.view, self.head = View.of(context, (0.5, 1.0)), nn.Linear(backbone.width, 2)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        level = batch.images.float().mean((1, 2, 3))
        target = (level > level.median()).long()
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        right = (logits.argmax(1) == target).float().mean().detach()
        return F.cross_entropy(logits, target), {"accuracy": right}

    def chance_level(self) -> float:
        return 0.5
