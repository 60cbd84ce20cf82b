"""Views of a whole batch, made on the device from uint8 images, with parameters for each image.

    view = View.of(context, (0.2, 1.0))
    x = view(batch.images, batch.draw)     # float32 [b, channels, size, size], normalised
    x = view(batch.images, batch.draw, 2)  # two views of each image: [2 b, ...], image by image

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

from trainables.modality import Preset
from trainables.task import Batch, Context, Draw, PerChannel

RATIO = (3 / 4, 4 / 3)  # range of a crop's width / height
JITTERED = 0.8  # probability that a view's colours are jittered
LUMA = (0.299, 0.587, 0.114)
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
TURN = ((0.0, 0, 0), (0, 0, -1), (0, 1, 0))  # rotates the chroma by 90 degrees
BLUR = 2 / 224, 1.0  # largest standard deviation: a fraction of the view's side, at least so many px
LEAST_BLUR = 0.1  # px
WAVELENGTHS = (0.6, 0.54, 0.45)  # of red, green and blue light, micrometres
KELVIN = (3000.0, 6500.0, 15000.0)  # black bodies: warmest, usual and coldest light
RADIATION, GAMMA = 14388.0, 2.2  # Planck's second constant, micrometres x kelvin; of sRGB
PLACE, COLOURS, BLURRED = 7, 6, 2  # numbers that each part of a view uses
NUMBERS = PLACE + COLOURS + BLURRED + 1  # the last: whether it is solarised

Scale = tuple[float, float]


class Normalised(nn.Module):
    """Base of views: mean and std of the training split, moved with the module but not saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: PerChannel, std: PerChannel) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)


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


class Colour(Normalised):
    """Colour jitter and normalisation of 0..255 pixels: one affine channel map per image."""

    base: Tensor
    quarter: Tensor
    redness: Tensor

    def __init__(self, preset: Preset, mean: PerChannel, std: PerChannel) -> None:
        super().__init__(tuple(255 * m for m in mean), tuple(255 * s for s in std))
        self.preset = preset
        yiq = torch.tensor(YIQ)
        self.register_buffer("base", yiq[:1].expand(3, 3).contiguous(), persistent=False)
        self.register_buffer("quarter", yiq.inverse() @ torch.tensor(TURN) @ yiq, persistent=False)
        waves = 1 / torch.tensor(WAVELENGTHS)
        redness = (waves[1] - waves) * (RADIATION / GAMMA)
        self.register_buffer("redness", redness, persistent=False)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Change and normalise x: [b, channels, h, w]; numbers: [b, COLOURS], uniform."""
        p, u = self.preset, numbers
        jittered = u[:, 4] < JITTERED
        on = jittered * 2.0
        brightness = 1 + p.brightness * on * (u[:, 0] - 0.5)
        contrast = 1 + p.contrast * on * (u[:, 1] - 0.5)
        if x.shape[1] == 1:
            matrix = torch.ones_like(brightness).view(-1, 1, 1)
        elif p.planckian:
            matrix = self.lit(torch.where(jittered, kelvin(u[:, 3]), KELVIN[1]))
        else:
            chroma = (1 + p.saturation * on * (u[:, 2] - 0.5)) * (u[:, 5] >= p.grayscale)
            matrix = self.mixed(chroma, p.hue * on * (u[:, 3] - 0.5))
        return self.change(x, brightness, contrast, matrix)

    def mixed(self, chroma: Tensor, hue: Tensor) -> Tensor:
        """Return channel maps [b, 3, 3]. chroma: factor of saturation, 0: grey; hue: in turns."""
        angle = hue * (2 * math.pi)
        cos, sin = (chroma * angle.cos()).view(-1, 1, 1), (chroma * angle.sin()).view(-1, 1, 1)
        matrix = self.base + cos * (torch.eye(3, device=chroma.device) - self.base)
        return matrix + sin * self.quarter

    def lit(self, temperature: Tensor) -> Tensor:
        """Return the channel maps of another light: [b, 3, 3]; temperature: of a black body, K.

        Planckian jitter (Zini et al., 2023), by Wien's law; green stays as it is.
        """
        gain = self.redness * (1 / temperature - 1 / KELVIN[1])[:, None]
        return gain.exp().diag_embed()

    def change(self, x: Tensor, brightness: Tensor, contrast: Tensor, matrix: Tensor) -> Tensor:
        """Change and normalise x: [b, channels, h, w]; factors: [b]; matrix: of the channels."""
        flat = x.flatten(2)
        grey = flat.mean(2, keepdim=True)
        if x.shape[1] == 3:
            grey = self.base[:1] @ grey
        mean, std = self.mean[:, 0], self.std[:, 0]
        matrix = matrix * (brightness * contrast).view(-1, 1, 1) / std
        shift = ((1 - contrast) * brightness).view(-1, 1, 1) * grey
        changed = torch.baddbmm((shift - mean) / std, matrix, flat)
        return changed.clamp(-mean / std, (255 - mean) / std).view_as(x)

    def solarise(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Invert the pixels above mid-grey of some normalised images; chosen: bool [b]."""
        middle = (127.5 - self.mean) / self.std
        return torch.where(chosen.view(-1, 1, 1, 1), middle - (x - middle).abs(), x)


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

    def forward(self, images: Tensor, draw: Draw, copies: int = 1) -> Tensor:
        """Make views: uint8 [b, channels, side, side] -> float32 [b * copies, channels, ...]."""
        return self.made(halvings(images, self.depth(images.shape[-1])), draw, copies)

    def depth(self, side: int) -> int:
        """Return how many halvings, the image among them, views of images of `side` px need."""
        most = side * self.scale[1] ** 0.5 / self.size
        return 1 + math.ceil(max(math.log2(most), 0))

    def made(self, levels: list[Tensor], draw: Draw, copies: int) -> Tensor:
        """Make views from `depth` or more halvings, which several kinds of views may share."""
        p, size, side = self.preset, self.size, levels[0].shape[-1]
        u = draw.uniform(copies, NUMBERS).flatten(0, 1)
        place, colours, blurred, solarised = u.split((PLACE, COLOURS, BLURRED, 1), 1)
        with torch.autocast(u.device.type, enabled=False):
            theta = placement(p, self.scale, place)
            grid = F.affine_grid(theta, [len(theta), 1, size, size], align_corners=False)
            spacing = theta[:, :, :2].det().abs().sqrt() * (side / size)
            x = self.colour(sample(levels[: self.depth(side)], grid, spacing), colours)
            x = random_blur(x, p.blur, blurred) if p.blur else x
            return self.colour.solarise(x, solarised < p.solarise) if p.solarise else x


def two_views(first: View, second: View, batch: Batch) -> Tensor:
    """Return two views of each image, or of it and its partner: [2 b, ...], image by image.

    Both are of one size; one view maker for both makes them in one go.
    """
    depth = first.depth(batch.images.shape[-1])
    levels = halvings(batch.images, depth)
    if first is second and batch.partners is None:
        return first.made(levels, batch.draw, 2)
    others = levels if batch.partners is None else halvings(batch.partners, depth)
    pair = [first.made(levels, batch.draw, 1), second.made(others, batch.draw, 1)]
    return torch.stack(pair, 1).flatten(0, 1)


def halvings(images: Tensor, count: int) -> list[Tensor]:
    """Return float pixels of images and of their halvings, `count` together."""
    levels = [images.float()]
    for _ in range(count - 1):
        levels.append(F.adaptive_avg_pool2d(levels[-1], -(-levels[-1].shape[-1] // 2)))
    return levels


def sample(levels: list[Tensor], grid: Tensor, spacing: Tensor) -> Tensor:
    """Sample views at positions -1..1 without aliasing: [b * k, channels, h, w], image by image.

    levels: halvings of b images; grid: [b * k, h, w, 2]; spacing: [b * k], image px from one sample
    to the next. A mean of two halvings has the variance of the evaluation's filter, spacing^2 / 6.
    """
    b, (n, h, w, _) = len(levels[0]), grid.shape
    rows = grid.view(b, n // b * h, w, 2)
    total = torch.zeros((), device=grid.device)
    for level, weight in zip(levels, level_weights(spacing, len(levels)).unbind(1), strict=True):
        found = F.grid_sample(level, rows, padding_mode="reflection", align_corners=False)
        total = total + found.unflatten(2, (n // b, h)) * weight.view(b, 1, -1, 1, 1)
    return total.transpose(1, 2).flatten(0, 1)


def level_weights(spacing: Tensor, count: int) -> Tensor:
    """Return the weights of `count` halvings for samples that are `spacing` [n] px apart."""
    number = torch.arange(count, device=spacing.device)
    variance = (3 * 4.0**number - 1) / 12  # of a halving and of the linear interpolation, px^2
    low, high = variance[:-1], variance[1:]
    wanted = spacing[:, None].square() / 6
    place = ((wanted - low) / (high - low)).clamp(0, 1).sum(1, keepdim=True)
    return (1 - (place - number).abs()).clamp(min=0)


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


def kelvin(u: Tensor) -> Tensor:
    """Return temperatures whose inverses are uniform, as the eye sees them; u: 0..1."""
    warm, _, cold = KELVIN
    return 1 / (1 / cold + (1 / warm - 1 / cold) * u)


def random_blur(x: Tensor, probability: float, numbers: Tensor) -> Tensor:
    """Blur some of the views x: [b, channels, side, side], on a CPU in place."""
    most = most_blur(x.shape[-1])
    std = LEAST_BLUR + (most - LEAST_BLUR) * numbers[:, 1]
    chosen = numbers[:, 0] < probability
    if x.device.type == "cpu":  # on a GPU, indexing by `chosen` would synchronise
        x[chosen] = blur(x[chosen], std[chosen], most)
        return x
    return blur(x, torch.where(chosen, std, 0.0), most)


def most_blur(side: int) -> float:
    """Return the largest standard deviation, px: 2 at 224 px, as published, and never below 1."""
    fraction, least = BLUR
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
