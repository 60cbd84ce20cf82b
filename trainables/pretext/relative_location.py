"""Relative Location: which of the centre patch's 8 neighbours is this? (Doersch et al., 2015)

What differs from OpenSelfSup's recipe: the centre is encoded once and its features are reused for
the 8 pairs (9 forwards an image, not 16), all 9 patches in one call, image by image; the neck is as
wide as the backbone asks (2 x its features); BatchNorm momentum 0.1, so that it settles within an
epoch; the image's border is never used (vignettes, side markers and collimation give the corner
away); and patches are sampled from the cache by one grid, at least 32 px wide.

The LR policy's score is the loss: in a short run, accuracy near 1/8 is mostly noise.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import Colour, Preset, sample
from trainables.errors import UserError
from trainables.pretext import Batch, Context, Draw, Task, dropout
from trainables.schema import Dropout, Fraction, Schema

CENTRE = 4  # of 3 x 3 cells, row by row


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Schema):
        border: Annotated[float, Field(ge=0, lt=0.5)]
        crop: Annotated[float, Field(ge=0.05, le=1)]
        patch: Annotated[float, Field(ge=0.05, le=1)]
        patch_px: Annotated[int, Field(ge=8, le=512)] | None
        dropout: Dropout
        grayscale: Fraction

        def __post_init__(self) -> None:
            if 2 * self.border + self.crop > 1 + 1e-9:
                raise UserError(
                    f"tasks.relative_location.params.crop={self.crop:g}: must be at most 1 with "
                    f"the border={self.border:g} on either side; try {1 - 2 * self.border:g}"
                )

    def __init__(self, backbone: nn.Module, params: dict[str, Any], context: Context) -> None:
        super().__init__(backbone, params, context)
        hidden = 2 * int(backbone.width)  # type: ignore[arg-type]
        self.px = patch_px(params, context)
        preset = Preset(grayscale=params["grayscale"])
        self.colour = Colour(preset, context.mean, context.std)
        self.neck = nn.Sequential(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 8)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, labels = self.predict(batch)
        correct = (logits.argmax(1) == labels).float().view(-1, 8)
        corners = torch.cat([correct[:, ::7], correct[:, 2:6:3]])  # positions 0, 7 and 2, 5
        metrics = {"accuracy": correct.mean(), "corner_accuracy": corners.mean()}
        return F.cross_entropy(logits.float(), labels), metrics

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits [8 b, 8] and labels [8 b], image by image."""
        b = len(batch.index)
        patches = self.patches(batch.images, batch.draw)
        pairs = pair(self.backbone(patches.flatten(0, 1)).unflatten(0, (b, 9)))
        hidden = dropout(
            self.neck(pairs.flatten(0, 1)), self.params["dropout"], batch.draw, self.training
        )
        return self.head(hidden), torch.arange(8, device=hidden.device).repeat(b)

    def chance(self) -> float:
        return 1 / 8

    def confusion(self, batch: Batch) -> Tensor:
        """Of the 8 positions, row by row."""
        logits, labels = self.predict(batch)
        return torch.bincount(8 * labels + logits.argmax(1), minlength=64).view(8, 8)

    def patches(self, images: Tensor, draw: Draw) -> Tensor:
        """uint8 [b, channels, side, side] -> float32 [b, 9, channels, px, px], normalised."""
        with torch.autocast(images.device.type, enabled=False):
            p, px = self.params, self.px
            grid = patch_grid(draw, p["border"], p["crop"], p["patch"], px)
            strips = sample(images.float(), grid.flatten(1, 2))
            return self.colour(strips, draw).unflatten(2, (9, px)).transpose(1, 2)


def patch_px(params: dict[str, Any], context: Context) -> int:
    """Side of a patch as the backbone sees it."""
    return params["patch_px"] or max(32, round(context.image_size * 0.28 / 32) * 32)


def pair(features: Tensor) -> Tensor:
    """[b, 9, f] of the cells -> [b, 8, 2 f]: each neighbour's features, then the centre's."""
    neighbours = torch.cat([features[:, :CENTRE], features[:, CENTRE + 1 :]], 1)
    return torch.cat([neighbours, features[:, CENTRE : CENTRE + 1].expand_as(neighbours)], 2)


def patch_grid(draw: Draw, border: float, crop: float, patch: float, px: int) -> Tensor:
    """[b, 9, px, px, 2]: where to sample, -1..1; the lengths are shares of the image's side.

    A square of side `crop` lies at random inside the border; each of its 3 x 3 cells holds a patch
    of `patch` times the cell's side, at random inside the cell.
    """
    corner = border + draw.uniform(1, 2) * (1 - 2 * border - crop)
    cell, device = crop / 3, corner.device
    place = torch.arange(3, device=device)
    cells = torch.stack([place.repeat(3), place.repeat_interleave(3)], 1) * cell  # x, y
    start = corner + cells + draw.uniform(9, 2) * (cell * (1 - patch))
    offset = (torch.arange(px, device=device) + 0.5) / px * (cell * patch)
    x = (start[..., 0, None] + offset)[:, :, None, :].expand(-1, -1, px, -1)
    y = (start[..., 1, None] + offset)[:, :, :, None].expand(-1, -1, -1, px)
    return torch.stack([x, y], 4) * 2 - 1
