"""Views of a whole batch, made on the device from uint8 images, with parameters for each image.

    view = View.of(context, (0.2, 1.0))
    x = view(batch.images, batch.draw)     # float32 [b, channels, size, size], normalised
    x = view(batch.paired, batch.draw, 2)  # two views of each image: [2 b, ...], image by image

All numbers are drawn at once; the rest is a function of pixels and numbers. One sampling grid does
crop, flips and rotation (reflected at the borders, so that no corner reveals the angle), from as
many halvings of the image as the crop needs: a view has the frequencies of an evaluated image. One
affine map of the channels does colour and normalisation; two convolutions blur.
Differences from torchvision: crops start between pixels; colour operations have a fixed order and
clip once, at the end; hue is rotated in YIQ, not HSV, as that is linear. No value is read back from
a GPU.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.colour import COLOURS, Colour, Normalised
from trainables.modality import Preset
from trainables.task import Context, Draw, PerChannel

RATIO = (3 / 4, 4 / 3)  # range of a crop's width / height
LEAST_BLUR = 0.1  # standard deviation, px
MOST_BLUR = 2 / 224, 1.0  # a fraction of the view's side; at least, px
PLACE, BLURRED = 7, 2  # numbers that each part of a view uses
NUMBERS = PLACE + COLOURS + BLURRED + 1  # the last: whether it is solarised

Scale = tuple[float, float]


class FullView(Normalised):
    """The whole image resized to `size`, for evaluation."""

    def __init__(self, mean: PerChannel, std: PerChannel, size: int) -> None:
        super().__init__(mean, std)
        self.size = (size, size)

    def forward(self, images: Tensor) -> Tensor:
        x = images.float() / 255
        if x.shape[-1] != self.size[0]:
            x = F.interpolate(
                x, size=self.size, mode="bilinear", antialias=True, align_corners=False
            )
        return (x - self.mean) / self.std


class View(nn.Module):
    """A random view of `size` px; scale: range of the crop's fraction of the image's area."""

    def __init__(
        self, preset: Preset, mean: PerChannel, std: PerChannel, size: int, scale: Scale
    ) -> None:
        super().__init__()
        self.preset, self.size, self.scale = preset, size, scale
        self.colour = Colour(preset, mean, std)

    @classmethod
    def of(cls, context: Context, scale: Sequence[float]) -> "View":
        """Return a full view as the modality allows it; scale: least and largest fraction."""
        low, high = scale
        mean, std = context.mean, context.std
        return cls(context.augment, mean, std, context.image_size, (low, high))

    def forward(self, images: "Tensor | Pixels", draw: Draw, copies: int = 1) -> Tensor:
        """Make views: uint8 [b, channels, side, side] -> float32 [b * copies, channels, ...].

        Or of [b * copies] images, one for each view.
        """
        pixels = images if isinstance(images, Pixels) else Pixels(images)
        u = draw.uniform(copies, NUMBERS).flatten(0, 1)
        place, colours, blurred, solarised = u.split((PLACE, COLOURS, BLURRED, 1), 1)
        p, size = self.preset, self.size
        with torch.autocast(u.device.type, enabled=False):
            theta = placement(p, self.scale, place)
            grid = F.affine_grid(theta, [len(theta), 1, size, size], align_corners=False)
            halves = theta[:, :, :2].square().sum(1)  # squares of width and height
            spacing = halves.prod(1) ** 0.25 * (pixels.side / size)
            most = pixels.side / size * self.scale[1] ** 0.5
            x = self.colour(sample(pixels.halvings(most), grid, spacing), colours)
            x = random_blur(x, p.blur, blurred) if p.blur else x
            if p.solarise and copies > 1:
                x = self.colour.solarise(x, second(copies, solarised[:, 0] < p.solarise))
            return x


class Pixels:
    """Images and their halvings as float pixels; each is made once, when it is first needed."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.side, self.levels = images, images.shape[-1], list[Tensor]()

    def halvings(self, spacing: float) -> list[Tensor]:
        """Return the image and the halvings that samples up to `spacing` px apart need."""
        count = 1 + math.ceil(max(math.log2(spacing), 0))
        while len(self.levels) < count:
            side = -(-self.levels[-1].shape[-1] // 2) if self.levels else 0
            halved = F.adaptive_avg_pool2d(self.levels[-1], side) if side else self.images.float()
            self.levels.append(halved)
        return self.levels[:count]


def sample(levels: list[Tensor], grid: Tensor, spacing: Tensor) -> Tensor:
    """Sample views at positions -1..1 without aliasing: [b * k, channels, h, w], image by image.

    levels: halvings of b images; grid: [b * k, h, w, 2]; spacing: [b * k], image px from one sample
    to the next.
    """
    b, (n, h, w, _) = len(levels[0]), grid.shape
    rows = grid.view(b, n // b * h, w, 2)
    parts = []
    for level, weight in zip(levels, level_weights(spacing, len(levels)).unbind(1), strict=True):
        found = F.grid_sample(level, rows, padding_mode="reflection", align_corners=False)
        parts.append(found.unflatten(2, (n // b, h)) * weight.view(b, 1, -1, 1, 1))
    return sum(parts[1:], parts[0]).transpose(1, 2).flatten(0, 1)


def level_weights(spacing: Tensor, count: int) -> Tensor:
    """Return the weights of `count` halvings for samples that are `spacing` [n] px apart.

    Of two neighbours at most (trilinear mip-mapping, Williams, 1983): noise is left as strong as by
    the evaluation's filter.
    """
    wanted = spacing.log2().clamp(0, count - 1)[:, None]
    return (1 - (wanted - torch.arange(count, device=spacing.device)).abs()).clamp(min=0)


def second(copies: int, chosen: Tensor) -> Tensor:
    """Leave the first of each image's copies out of a choice; chosen: bool [b * copies]."""
    return chosen & (torch.arange(len(chosen), device=chosen.device) % copies > 0)


def placement(preset: Preset, scale: Scale, numbers: Tensor) -> Tensor:
    """Return maps from a view's coordinates (-1..1) to its image's: [b, 2, 3].

    scale: range of the crop's fraction of the image's area; numbers: [b, PLACE], uniform.
    """
    u = numbers
    area = scale[0] + (scale[1] - scale[0]) * u[:, 0]
    ratio = (math.log(RATIO[0]) + math.log(RATIO[1] / RATIO[0]) * u[:, 1]).exp()
    half = torch.stack([area * ratio, area / ratio], 1).sqrt().clamp(max=1)  # width, height
    centre = (2 * u[:, 2:4] - 1) * (1 - half)
    flip = torch.stack([u[:, 4] < preset.hflip / 2, u[:, 5] < preset.vflip / 2], 1)
    half = torch.where(flip, -half, half)
    angle = (2 * u[:, 6] - 1) * math.radians(preset.rotate)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([turn * half[:, None], centre[:, :, None]], 2)


def random_blur(x: Tensor, probability: float, numbers: Tensor) -> Tensor:
    """Blur some of the views x: [b, channels, side, side], on a CPU in place."""
    most = most_blur(x.shape[-1])
    std = LEAST_BLUR + (most - LEAST_BLUR) * numbers[:, 1]
    chosen = numbers[:, 0] < probability
    if x.device.type == "cpu":  # on a GPU, indexing by `chosen` would synchronise
        some = x[chosen]
        if len(some):
            x[chosen] = blur(some, std[chosen], most)
        return x
    return blur(x, torch.where(chosen, std, 0.0), most)


def most_blur(side: int) -> float:
    """Return the largest standard deviation, px: 2 at 224 px, as published, and never below 1."""
    fraction, least = MOST_BLUR
    return max(fraction * side, least)


def blur(x: Tensor, std: Tensor, most: float) -> Tensor:
    """Apply a Gaussian blur along either side; std: [b], px, 0 for none, at most `most`."""
    reach = math.ceil(3 * most)
    place = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = ((place / std.clamp(min=1e-3)[:, None]).square() * -0.5).clamp(min=-40).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)
    flat = F.pad(x, (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    across = F.conv2d(flat, weights[:, None, None], groups=flat.shape[1])
    return F.conv2d(across, weights[:, None, :, None], groups=flat.shape[1])[0].view_as(x)
