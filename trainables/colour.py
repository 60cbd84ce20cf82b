"""Colours of views: jitter, another light, solarisation; normalised pixels.

    colour = Colour(preset, mean, std)
    x = colour(pixels, draw.uniform(COLOURS))  # [b, channels, h, w], 0..255 -> normalised

One affine map of an image's channels does all but clipping and solarisation.
"""

import math

import torch
from torch import Tensor, nn

from trainables.modality import Preset
from trainables.task import PerChannel

JITTERED = 0.8  # probability that a view's colours are jittered
LUMA = (0.299, 0.587, 0.114)
YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
TURN = ((0.0, 0, 0), (0, 0, -1), (0, 1, 0))  # rotates the chroma by 90 degrees
WAVELENGTHS = (0.6, 0.54, 0.45)  # of red, green and blue light, micrometres
KELVIN = (3000.0, 6500.0, 15000.0)  # black bodies: warmest, usual and coldest light
RADIATION, GAMMA = 14388.0, 2.2  # Planck's second constant, micrometres x kelvin; of sRGB
COLOURS = 6  # numbers that a view's colours use


class Normalised(nn.Module):
    """Base of views: mean and std of the training split, moved with the module but not saved."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: PerChannel, std: PerChannel) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)


class Colour(Normalised):
    """Colour jitter and normalisation of 0..255 pixels: one affine channel map per image."""

    base: Tensor
    quarter: Tensor
    redness: Tensor
    strength: Tensor

    def __init__(self, preset: Preset, mean: PerChannel, std: PerChannel) -> None:
        super().__init__(tuple(255 * m for m in mean), tuple(255 * s for s in std))
        self.preset = preset
        ranges = (preset.brightness, preset.contrast, preset.saturation, preset.hue)
        self.register_buffer("strength", 2 * torch.tensor(ranges), persistent=False)
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
        moves = (u[:, :4] - 0.5) * self.strength * jittered[:, None]
        brightness, contrast, saturation = (1 + moves[:, :3]).unbind(1)
        if x.shape[1] == 1:
            matrix = torch.ones_like(brightness).view(-1, 1, 1)
        elif p.planckian:
            matrix = self.lit(torch.where(jittered, kelvin(u[:, 3]), KELVIN[1]))
        else:
            matrix = self.mixed(saturation * (u[:, 5] >= p.grayscale), moves[:, 3])
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


def kelvin(u: Tensor) -> Tensor:
    """Return temperatures whose inverses are uniform, as the eye sees them; u: 0..1."""
    warm, _, cold = KELVIN
    return 1 / (1 / cold + (1 / warm - 1 / cold) * u)
