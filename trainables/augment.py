"""Views of a whole batch, made on the device from uint8 images, with parameters for each image.

    view = View.of(context, (0.2, 1.0))
    x = view(batch.images, batch.draw)  # float32 [b, channels, size, size], normalised

One sampling grid does crop, flips and rotation (reflected at the borders, so that no corner reveals
the angle); one affine map of the channels does colour and normalisation; two matrix products blur.
Differences from torchvision: crops start between pixels; colour operations have a fixed order and
never clip; hue is rotated in YIQ, not HSV, as that is linear. No value is read back from a GPU.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables.modality import Preset
from trainables.task import Context, Draw, PerChannel

RATIO = (3 / 4, 4 / 3)  # range of a crop's width / height
JITTERED = 0.8  # probability that a view's colours are jittered
LUMA = (0.299, 0.587, 0.114)
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
TURN = ((0.0, 0, 0), (0, 0, -1), (0, 1, 0))  # rotates the chroma by 90 degrees
BLUR = (0.1 / 224, 2 / 224)  # range of the standard deviation, a fraction of the view's side


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

    def __init__(self, preset: Preset, mean: PerChannel, std: PerChannel) -> None:
        super().__init__(tuple(255 * m for m in mean), tuple(255 * s for s in std))
        self.preset = preset
        yiq = torch.tensor(YIQ)
        self.register_buffer("base", yiq[:1].expand(3, 3).contiguous(), persistent=False)
        self.register_buffer("quarter", yiq.inverse() @ torch.tensor(TURN) @ yiq, persistent=False)

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        p, u = self.preset, draw.uniform(6)
        on = (u[:, 4] < JITTERED) * 2.0
        brightness = 1 + p.brightness * on * (u[:, 0] - 0.5)
        contrast = 1 + p.contrast * on * (u[:, 1] - 0.5)
        chroma = (1 + p.saturation * on * (u[:, 2] - 0.5)) * (u[:, 5] >= p.grayscale)
        return self.change(x, brightness, contrast, chroma, p.hue * on * (u[:, 3] - 0.5))

    def change(
        self, x: Tensor, brightness: Tensor, contrast: Tensor, chroma: Tensor, hue: Tensor
    ) -> Tensor:
        """Change and normalise x: [b, channels, h, w] by parameters of shape [b].

        brightness, contrast: factors; chroma: factor of saturation, 0 for grayscale; hue: in turns.
        """
        flat = x.flatten(2)
        grey = flat.mean(2, keepdim=True)
        matrix = torch.ones_like(brightness).view(-1, 1, 1)
        if x.shape[1] == 3:
            grey = self.base[:1] @ grey
            angle = hue * (2 * math.pi)
            cos, sin = (chroma * angle.cos()).view(-1, 1, 1), (chroma * angle.sin()).view(-1, 1, 1)
            matrix = self.base + cos * (torch.eye(3, device=x.device) - self.base)
            matrix = matrix + sin * self.quarter
        mean, std = self.mean[:, 0], self.std[:, 0]
        matrix = matrix * (brightness * contrast).view(-1, 1, 1) / std
        shift = ((1 - contrast) * brightness).view(-1, 1, 1) * grey
        return torch.baddbmm((shift - mean) / std, matrix, flat).view_as(x)


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

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """Make views: uint8 [b, channels, side, side] -> float32 [b, channels, size, size]."""
        with torch.autocast(images.device.type, enabled=False):
            pixels = shrink(images, int(images.shape[-1] * self.scale[0] ** 0.5) // self.size)
            theta = placement(self.preset, self.scale, draw)
            grid = F.affine_grid(theta, [len(theta), 1, self.size, self.size], align_corners=False)
            x = self.colour(sample(pixels, grid), draw)
            return random_blur(x, self.preset.blur, draw) if self.preset.blur else x


def shrink(images: Tensor, factor: int) -> Tensor:
    """Average float pixels over squares of `factor` px."""
    pixels = images.float()
    return F.avg_pool2d(pixels, factor) if factor > 1 else pixels


def sample(pixels: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def placement(preset: Preset, scale: Scale, draw: Draw) -> Tensor:
    """Draw maps from a view's coordinates (-1..1) to its image's: [b, 2, 3].

    scale: range of the crop's fraction of the image's area.
    """
    area = draw.uniform(low=scale[0], high=scale[1])
    ratio = draw.uniform(low=math.log(RATIO[0]), high=math.log(RATIO[1])).exp()
    half = torch.stack([area * ratio, area / ratio], 1).sqrt().clamp(max=1)  # width, height
    centre = draw.uniform(2, low=-1, high=1) * (1 - half)
    coin = draw.uniform(2)
    flip = torch.stack([coin[:, 0] < preset.hflip / 2, coin[:, 1] < preset.vflip / 2], 1)
    half = torch.where(flip, -half, half)
    angle = draw.uniform(low=-1, high=1) * math.radians(preset.rotate)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], 1).view(-1, 2, 2)
    return torch.cat([turn * half[:, None], centre[:, :, None]], 2)


def random_blur(x: Tensor, probability: float, draw: Draw) -> Tensor:
    """Blur some of the views x: [b, channels, side, side], on a CPU in place."""
    u = draw.uniform(2)
    std = (BLUR[0] + (BLUR[1] - BLUR[0]) * u[:, 1]) * x.shape[-1]
    chosen = u[:, 0] < probability
    if x.device.type == "cpu":  # on a GPU, indexing by `chosen` would synchronise
        x[chosen] = blur(x[chosen], std[chosen])
        return x
    return blur(x, torch.where(chosen, std, 0.0))


def blur(x: Tensor, std: Tensor) -> Tensor:
    """Apply a Gaussian blur as a matrix product on either side; std: [b], px, 0 for none."""
    place = torch.arange(x.shape[-1], device=x.device, dtype=x.dtype)
    distance = (place[:, None] - place) / std.clamp(min=1e-3).view(-1, 1, 1)
    weights = (distance.square() * -0.5).clamp(min=-40).exp()  # denormal numbers are slow
    weights = weights / weights.sum(2, keepdim=True)
    rows = (x.flatten(1, 2) @ weights.mT).view_as(x)
    return weights[:, None] @ rows
