"""A task's views with torchvision: what a careful user writes, on PIL images.

Read off the task: same number and size of views and the same parameters as ours. The colours of a
view are changed after it was cropped and resized, and it is rotated then too: the fastest order for
torchvision. The blur is Pillow's, as in MoCo v2's own code: one axis after the other, where
torchvision's convolves in two dimensions and takes most of a view's time.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from trainables.augment import BLUR, View
from trainables.task import Context

Views = dict[str, list[Tensor]]  # of one image, by the attribute of the task they replace


class ImageViews:
    """wanted: by attribute of a task, what makes its views on the device, and how many."""

    def __init__(self, wanted: Mapping[str, tuple[Any, int]]) -> None:
        self.makers = {name: [_equal(made)] * count for name, (made, count) in wanted.items()}

    def __call__(self, image: Image.Image) -> Views:
        return {name: [make(image) for make in makers] for name, makers in self.makers.items()}


def _equal(made: Any) -> Callable[[Image.Image], Tensor]:
    return crop(made) if isinstance(made, View) else Patches(made.__self__)


def crop(made: View) -> v2.Compose:
    p, size = made.preset, made.size
    jitter = v2.ColorJitter(p.brightness, p.contrast, p.saturation, p.hue)
    steps = [
        v2.RandomResizedCrop(size, made.scale, antialias=True),
        v2.RandomHorizontalFlip(p.hflip / 2),
        v2.RandomVerticalFlip(p.vflip / 2),
        *([v2.RandomRotation(p.rotate, v2.InterpolationMode.BILINEAR)] if p.rotate else []),
        v2.RandomApply([jitter], made.colour.jittered),
        *([v2.RandomGrayscale(p.grayscale)] if p.grayscale else []),
        *([v2.RandomApply([Blur(size)], p.blur)] if p.blur else []),
        normal(made.colour.mean / 255, made.colour.std / 255),
    ]
    return v2.Compose(steps)


def normal(mean: Tensor, std: Tensor) -> v2.Compose:
    """To a tensor, by the mean and deviation of 0..1 pixels."""
    steps = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean.flatten().tolist(), std.flatten().tolist()),
        v2.ToPureTensor(),
    ]
    return v2.Compose(steps)


class Blur:
    """size: of the image, px."""

    def __init__(self, size: int) -> None:
        self.deviation = BLUR[0] * size, BLUR[1] * size

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.deviation)))


class Patches:
    """The nine patches of Relative Location, each resized from its cell."""

    def __init__(self, task: Any) -> None:
        self.p, self.px = task.params, task.px
        self.grey = v2.RandomGrayscale(self.p["grayscale"])
        known: Context = task.context
        self.normal = normal(torch.tensor(known.mean), torch.tensor(known.std))

    def __call__(self, image: Image.Image) -> Tensor:
        side = min(image.size)
        image = self.grey(F.center_crop(image, [side, side]))
        cell, free = side * self.p["crop"] / 3, 1 - 2 * self.p["border"] - self.p["crop"]
        corner = side * (self.p["border"] + torch.rand(2) * free)
        patches = [self._patch(image, corner, i % 3, i // 3, cell) for i in range(9)]
        return torch.stack(patches)

    def _patch(self, image: Image.Image, corner: Tensor, x: int, y: int, cell: float) -> Tensor:
        length = cell * self.p["patch"]
        left, top = (
            corner + torch.tensor([x, y]) * cell + torch.rand(2) * (cell - length)
        ).tolist()
        box = (round(top), round(left), round(length), round(length))
        patch: Tensor = self.normal(F.resized_crop(image, *box, [self.px, self.px]))
        return patch
