"""Relative Location: which of the centre patch's 8 neighbours is this? (Doersch et al., 2015)

Differences from OpenSelfSup's recipe:
- the grid is smaller, so that its random place hides where in the image a patch lies: else the
  neighbour alone gives the answer away, and nothing is learnt of relations;
- the centre is encoded once for its 8 pairs (9 forward passes per image, not 16), in one call;
- the neck is twice as wide as the backbone's features;
- BatchNorm momentum is 0.1, so that statistics converge within an epoch;
- the image's border is never used: vignettes, side markers and collimation reveal the corner;
- patches are sampled from the cache by one grid, at least 32 px wide.

The LR policy's score is the loss: in a short run, accuracy near 1/8 is mostly noise. The control is
the accuracy with the centre of another image: above chance level, it tells places, not relations.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import Pixels, sample
from trainables.backbone import Backbone
from trainables.colour import COLOURS, Colour
from trainables.errors import UserError
from trainables.modality import Preset
from trainables.schema import Dropout, Fraction
from trainables.spec import Settings
from trainables.task import Batch, Context, Draw, Task, dropout
from trainables.training import distributed

CENTRE = 4  # index in the 3 x 3 cells, row by row
PLACES = 2 + 9 * 2  # numbers that place the grid and its patches


class Patches(nn.Module):
    """The nine patches of an image as views; px: the side of a patch as the backbone sees it."""

    def __init__(self, params: "Plugin.Params", context: Context) -> None:
        super().__init__()
        self.params = params
        (self.px,) = params.sides(context)
        self.colour = Colour(Preset(grayscale=params.grayscale), context.mean, context.std)

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """Sample normalised patches: uint8 [b, c, side, side] -> float32 [b, 9, c, px, px]."""
        p, b = self.params, len(images)
        places, colours = draw.uniform(PLACES + COLOURS).split((PLACES, COLOURS), 1)
        with torch.autocast(images.device.type, enabled=False):
            grid = patch_grid(places, p.border, p.crop, p.patch, self.px).flatten(0, 1)
            spacing = p.crop / 3 * p.patch * images.shape[-1] / self.px
            levels = Pixels(images).halvings(spacing)
            patches = sample(levels, grid, torch.full_like(grid[:, 0, 0, 0], spacing))
            strips = patches.unflatten(0, (b, 9)).transpose(1, 2).flatten(2, 3)
            return self.colour(strips, colours).unflatten(2, (9, self.px)).transpose(1, 2)


class Plugin(Task):
    @dataclass(frozen=True)
    class Params(Task.Params):
        border: Annotated[float, Field(ge=0, le=0.475)] = 0.1
        crop: Annotated[float, Field(ge=0.05, le=1)] = 0.35
        patch: Annotated[float, Field(ge=0.05, le=1)] = 0.75
        patch_px: Annotated[int, Field(ge=8, le=512)] | None = None
        dropout: Dropout = 0.5
        grayscale: Fraction = 0.66

        def __post_init__(self) -> None:
            if 2 * self.border + self.crop > 1 + 1e-9:
                raise UserError(
                    f"tasks.relative_location.params.crop={self.crop:g}: must be at most 1 with "
                    f"the border={self.border:g} on either side; try {1 - 2 * self.border:g}"
                )

        def sides(self, context: Context) -> tuple[int, ...]:
            return (self._side(context.image_size),)

        def enlarged(self, image_size: int, decoded: int) -> float:
            return self._side(image_size) / (self.crop / 3 * self.patch * decoded)

        def _side(self, image_size: int) -> int:
            return self.patch_px or max(32, round(image_size * 0.28 / 32) * 32)

    version = "2"
    forwards = (1, 9)
    augmentations = frozenset[str]()
    params: Params

    def __init__(self, backbone: Backbone, params: Settings, context: Context) -> None:
        super().__init__(backbone, params, context)
        hidden = 2 * backbone.width
        self.patches = Patches(self.params, context)
        self.neck = nn.Sequential(nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.ReLU())
        self.head = nn.Linear(hidden, 8)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits, labels = self.predict(batch)
        correct = (logits.argmax(1) == labels).float().view(-1, 8)
        corners = torch.cat([correct[:, ::7], correct[:, 2:6:3]])  # positions 0, 7 and 2, 5
        metrics = {"accuracy": correct.mean(), "corner_accuracy": corners.mean()}
        return F.cross_entropy(logits.float(), labels), metrics

    def predict(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [8 b, 8] and labels [8 b], image by image."""
        hidden = self.neck(pair(self.encode(batch)).flatten(0, 1))
        hidden = dropout(hidden, self.params.dropout, batch.draw, self.training)
        return self.head(hidden), labels_of(batch)

    def encode(self, batch: Batch) -> Tensor:
        """Return the features of the nine patches of each image: [b, 9, width]."""
        patches = self.patches(batch.images, batch.draw)
        return self.backbone(patches.flatten(0, 1)).unflatten(0, (-1, 9))

    def chance_level(self) -> float:
        return 1 / 8

    def confusion(self, batch: Batch) -> Tensor:
        """Count the answers for the 8 positions, row by row."""
        logits, labels = self.predict(batch)
        return torch.bincount(8 * labels + logits.argmax(1), minlength=64).view(8, 8)

    def shortcut(self, batch: Batch) -> Tensor:
        """Return the accuracies with the centre of the image, and of another one."""
        features, labels = self.encode(batch), labels_of(batch)
        others = distributed.all_gather(features[:, CENTRE]).roll(1, 0)
        here = others.chunk(distributed.world_size())[distributed.rank()]
        known = [pair(features), pair(features, here)]
        answers = [self.head(self.neck(pairs.flatten(0, 1))).argmax(1) for pairs in known]
        return torch.stack([(answer == labels).float().mean() for answer in answers])


def labels_of(batch: Batch) -> Tensor:
    """Return the positions of all neighbours: int64 [8 b]."""
    return torch.arange(8, device=batch.index.device).repeat(len(batch.index))


def pair(features: Tensor, centres: Tensor | None = None) -> Tensor:
    """Pair each neighbour's features with the centre's: [b, 9, f] -> [b, 8, 2 f].

    centres: [b, f], in place of the images' own.
    """
    neighbours = torch.cat([features[:, :CENTRE], features[:, CENTRE + 1 :]], 1)
    centre = features[:, CENTRE] if centres is None else centres
    return torch.cat([neighbours, centre[:, None].expand_as(neighbours)], 2)


def patch_grid(numbers: Tensor, border: float, crop: float, patch: float, px: int) -> Tensor:
    """Return sampling positions, -1..1: [b, 9, px, px, 2].

    A square of side `crop` lies at random inside the border; each of its 3 x 3 cells holds a patch
    of `patch` times the cell's side, at random inside the cell. border and crop are fractions of
    the image's side; numbers: [b, PLACES], uniform.
    """
    corner = border + numbers[:, None, :2] * (1 - 2 * border - crop)
    cell, device = crop / 3, corner.device
    place = torch.arange(3, device=device)
    cells = torch.stack([place.repeat(3), place.repeat_interleave(3)], 1) * cell  # x, y
    start = corner + cells + numbers[:, 2:].unflatten(1, (9, 2)) * (cell * (1 - patch))
    offset = (torch.arange(px, device=device) + 0.5) / px * (cell * patch)
    x = (start[..., 0, None] + offset)[:, :, None, :].expand(-1, -1, px, -1)
    y = (start[..., 1, None] + offset)[:, :, :, None].expand(-1, -1, -1, px)
    return torch.stack([x, y], 4) * 2 - 1
