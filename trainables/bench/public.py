"""A task's views in torchvision on PIL images, as a careful user writes them.

They are derived from the task's own view makers: as many, of the same size, with the same
parameters, but for solarisation. Colours are changed and views rotated after the crop, which is the
fastest order for torchvision. The blur is Pillow's, one axis after the other, as in MoCo v2's own
code; torchvision's is a two-dimensional convolution, which would take most of a view's time.
"""

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from trainables.augment import LEAST_BLUR, View, most_blur
from trainables.colour import JITTERED
from trainables.pretext import relative_location

Views = dict[str, list[Tensor]]  # of one image or a batch, by the task's attribute
MakeViews = Callable[[Image.Image], Views]


def image_views(wanted: Mapping[str, tuple[nn.Module, int]]) -> MakeViews:
    """Return torchvision's equals; wanted: the task's view maker and the number of its views."""
    return partial(_all, {n: [EQUALS[type(made)](made)] * k for n, (made, k) in wanted.items()})


def _all(makers: Mapping[str, list[Callable[[Image.Image], Tensor]]], image: Image.Image) -> Views:
    return {name: [make(image) for make in own] for name, own in makers.items()}


def crop(made: View) -> v2.Compose:
    p, size = made.preset, made.size
    jitter = v2.ColorJitter(p.brightness, p.contrast, p.saturation, p.hue)
    steps = [
        v2.RandomResizedCrop(size, made.scale, antialias=True),
        v2.RandomHorizontalFlip(p.hflip / 2),
        v2.RandomVerticalFlip(p.vflip / 2),
        *([v2.RandomRotation(p.rotate, v2.InterpolationMode.BILINEAR)] if p.rotate else []),
        v2.RandomApply([jitter], JITTERED),
        *([v2.RandomGrayscale(p.grayscale)] if p.grayscale else []),
        *([v2.RandomApply([partial(blur, size)], p.blur)] if p.blur else []),
        *normal(made.colour.mean / 255, made.colour.std / 255),
    ]
    return v2.Compose(steps)


def normal(mean: Tensor, std: Tensor) -> list[nn.Module]:
    """Return the steps to a normalised tensor; mean, std: of pixels, 0..1."""
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean.flatten().tolist(), std.flatten().tolist()),
        v2.ToPureTensor(),
    ]


def blur(size: int, image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(random.uniform(LEAST_BLUR, most_blur(size))))


class Patches:
    """The nine patches of Relative Location, each resized from its cell."""

    def __init__(self, made: relative_location.Patches) -> None:
        self.p, self.px = made.params, made.px
        self.grey = v2.RandomGrayscale(self.p.grayscale)
        self.normal = v2.Compose(normal(made.colour.mean / 255, made.colour.std / 255))

    def __call__(self, image: Image.Image) -> Tensor:
        side = min(image.size)
        image = self.grey(F.center_crop(image, [side, side]))
        cell, free = side * self.p.crop / 3, 1 - 2 * self.p.border - self.p.crop
        corner = side * (self.p.border + torch.rand(2) * free)
        patches = [self._patch(image, corner, i % 3, i // 3, cell) for i in range(9)]
        return torch.stack(patches)

    def _patch(self, image: Image.Image, corner: Tensor, x: int, y: int, cell: float) -> Tensor:
        length = cell * self.p.patch
        left, top = (
            corner + torch.tensor([x, y]) * cell + torch.rand(2) * (cell - length)
        ).tolist()
        box = (round(top), round(left), round(length), round(length))
        patch: Tensor = self.normal(F.resized_crop(image, *box, [self.px, self.px]))
        return patch


EQUALS: dict[type, Any] = {View: crop, relative_location.Patches: Patches}  # by kind of view maker
