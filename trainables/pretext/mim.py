"""Masked image modelling: which pixels stand where the image is hidden?

SimMIM (Xie et al., 2022) for any backbone, the sparse encoder of MAE (He et al., 2022; `_mae.py`)
where it is a vision transformer of timm. SimMIM hides random squares behind a learned square; one
linear layer tells the pixels from the last feature maps, by their mean distance over hidden pixels.

Differences from the authors' code of SimMIM:
- the hidden squares are a seventh of the view's side, which is theirs at 224 px, so that small
  views have as many of them; they need not be cells of the feature maps;
- the learned square stands in the pixels, as a convolution has no tokens.

Views are crops and flips only: a rotation would show reflected pixels twice. A hidden square is
answered correctly if, of all predictions for its image, its own is the nearest to its pixels; one
that is the same everywhere is right by chance. Nothing is remembered between steps that could
flatter a learning rate, so the LR policy's score is the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import View
from trainables.backbone import Backbone, used
from trainables.errors import UserError
from trainables.modality import Preset
from trainables.schema import Crop
from trainables.spec import Settings
from trainables.task import Batch, Context, Draw, Task

UNITS = 7  # squares along a view's side


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        crop: Crop | None = None
        ratio: Annotated[float, Field(gt=0, lt=1)] | None = None
        unit: Annotated[int, Field(ge=2, le=512)] | None = None

        def check(self, context: Context) -> None:
            size, unit = context.image_size, self.unit
            if unit_of(size) == 1:
                raise UserError(
                    f"profile.image_size={size}: must be no prime number for mim, which hides "
                    f"squares; try {size + 1}"
                )
            if unit and (size % unit or size < 2 * unit):
                raise UserError(
                    f"tasks.mim.params.unit={unit}: must divide profile.image_size={size}, twice "
                    f"or more; try {unit_of(size)} or null"
                )

    version = "2"
    forwards = (1, 1)
    augmentations = frozenset({"hflip", "vflip", "crop"})
    params: Params

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        self.method = method_of(backbone)(backbone, self.params, context)
        flips = Preset(context.augment.hflip, context.augment.vflip)
        crop = context.crop(self.params.crop, self.method.crop)
        self.view = View.of(replace(context, augment=flips), crop)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        view = self.view(batch.images, batch.draw)
        told, true = self.method(self.backbone, view, batch.draw)
        return self.method.error(told, true), {"accuracy": answered(told.detach(), true)}

    def chance_level(self) -> float:
        return 1 / self.method.hidden


class Method(nn.Module):
    """How the hidden patches are told; hidden: their number in an image, of `patches`."""

    crop = (0.67, 1.0)
    ratio = 0.6

    def __init__(self, patches: int, ratio: float | None) -> None:
        super().__init__()
        if patches < 4:
            raise UserError(
                f"profile.image_size: must hold 4 patches of profile.backbone for mim, and holds "
                f"{patches}; try twice as many px"
            )
        self.patches = patches
        self.hidden = min(max(2, round((ratio or self.ratio) * patches)), patches - 1)

    def order(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return which patches of each image are hidden, [b, hidden], and which are not."""
        order = draw.uniform(self.patches).argsort(1)
        return order[:, : self.hidden], order[:, self.hidden :]

    def forward(self, backbone: Backbone, view: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return predictions and targets of the hidden patches: [b, hidden, values]."""
        raise NotImplementedError

    def error(self, told: Tensor, true: Tensor) -> Tensor:
        return F.l1_loss(told, true)


class SimMIM(Method):
    """Hides squares of `unit` px of the pixels; px: the side of what a feature map's cell tells."""

    def __init__(self, backbone: Backbone, params: Plugin.Params, context: Context) -> None:
        self.unit = params.unit or unit_of(context.image_size)
        self.side = context.image_size // self.unit
        super().__init__(self.side**2, params.ratio)
        cells = used(backbone, context.empty, backbone.maps).shape[-1]
        self.px = -(-context.image_size // cells)
        self.square = nn.Parameter(torch.zeros(context.channels, self.unit, self.unit))
        self.decode = nn.Conv2d(backbone.map_width, context.channels * self.px**2, 1)

    def forward(self, backbone: Backbone, view: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
        hidden, _ = self.order(draw)
        maps = self.decode(backbone.maps(self.masked(view, hidden)))
        told = F.pixel_shuffle(maps.float(), self.px)[..., : view.shape[2], : view.shape[3]]
        return take(patches(told, self.unit), hidden), take(patches(view, self.unit), hidden)

    def masked(self, view: Tensor, hidden: Tensor) -> Tensor:
        """Put the learned square where it is hidden. view: [b, c, size, size]; hidden: [b, k]."""
        grid = torch.zeros(len(view), self.patches, device=view.device).scatter(1, hidden, 1.0)
        grid = grid.view(-1, 1, self.side, self.side)
        mask = F.interpolate(grid, scale_factor=self.unit, mode="nearest")
        return torch.lerp(view, self.square.tile(1, self.side, self.side), mask)


def method_of(backbone: Backbone) -> Callable[[Backbone, Plugin.Params, Context], Method]:
    """Return MAE for a vision transformer, else SimMIM; a ResNet needs no timm."""
    if not type(backbone.net).__module__.startswith("timm."):
        return SimMIM
    from timm.models.vision_transformer import VisionTransformer

    from trainables.pretext._mae import MAE

    return MAE if isinstance(backbone.net, VisionTransformer) else SimMIM


def unit_of(size: int) -> int:
    """Return the divisor of a view's side that is nearest to a seventh of it: 32 for 224 px.

    1 for a prime number.
    """
    known = (unit for unit in range(2, size // 2 + 1) if size % unit == 0)
    return min(known, key=lambda unit: abs(unit - size / UNITS), default=1)


def patches(x: Tensor, side: int) -> Tensor:
    """Cut images into squares, row by row: [b, c, h, w] -> [b, n, c * side * side]."""
    return F.unfold(x, side, stride=side).transpose(1, 2)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Return some rows of each image: [b, n, values], [b, k] -> [b, k, values]."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


@torch.no_grad()
def answered(told: Tensor, true: Tensor) -> Tensor:
    """Return how often a patch's nearest prediction is its own. told, true: [b, k, values]."""
    with torch.autocast(told.device.type, enabled=False):
        distance = told.square().sum(2)[:, None] - 2 * true @ told.mT
    own = torch.arange(told.shape[1], device=told.device)
    return (distance.argmin(2) == own).float().mean()
