"""The tasks' augmentations with torchvision: what a careful user writes, on PIL images.

Same number and size of views and the same parameters as ours. The colours of a view are changed
after it was cropped and resized, and it is rotated then too: the fastest order for torchvision.
"""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from trainables.augment import BLUR, JITTERED, Preset
from trainables.pretext.relative_location import patch_px
from trainables.pretext.swav import LARGE, small_size
from trainables.spec import StageSpec
from trainables.task import Context

Views = dict[str, list[Tensor]]  # of one image, by the attribute of the task they replace


class Crops:
    """wanted: by attribute, how many views of what size, and the range of a crop's area."""

    def __init__(
        self, ctx: Context, wanted: dict[str, tuple[int, int, list[float]]], **changes: bool | float
    ) -> None:
        preset = Preset.of(ctx.augment, **changes)
        self.views = {
            name: [view(preset, ctx, size, crop)] * count
            for name, (count, size, crop) in wanted.items()
        }

    def __call__(self, image: Image.Image) -> Views:
        return {name: [make(image) for make in makers] for name, makers in self.views.items()}


def view(preset: Preset, ctx: Context, size: int, crop: list[float]) -> v2.Compose:
    p = preset
    jitter = v2.ColorJitter(p.brightness, p.contrast, p.saturation, p.hue)
    blur = v2.GaussianBlur(size // 10 | 1, (BLUR[0] * size, BLUR[1] * size))
    steps = [
        v2.RandomResizedCrop(size, tuple(crop), antialias=True),
        v2.RandomHorizontalFlip(p.hflip / 2),
        v2.RandomVerticalFlip(p.vflip / 2),
        *([v2.RandomRotation(p.rotate, v2.InterpolationMode.BILINEAR)] if p.rotate else []),
        v2.RandomApply([jitter], JITTERED),
        *([v2.RandomGrayscale(p.grayscale)] if p.grayscale else []),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        *([v2.RandomApply([blur], p.blur)] if p.blur else []),
        v2.Normalize(ctx.mean, ctx.std),
        v2.ToPureTensor(),
    ]
    return v2.Compose(steps)


class Patches:
    """The nine patches of Relative Location, each resized from its cell."""

    def __init__(self, stage: StageSpec, ctx: Context) -> None:
        self.p, self.px = stage.params, patch_px(stage.params, ctx)
        self.grey = v2.RandomGrayscale(self.p["grayscale"])
        self.normal = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(ctx.mean, ctx.std)]
        )

    def __call__(self, image: Image.Image) -> Views:
        side = min(image.size)
        image = self.grey(F.center_crop(image, [side, side]))
        cell, free = side * self.p["crop"] / 3, 1 - 2 * self.p["border"] - self.p["crop"]
        corner = side * (self.p["border"] + torch.rand(2) * free)
        patches = [self._patch(image, corner, i % 3, i // 3, cell) for i in range(9)]
        return {"patches": [torch.stack(patches).as_subclass(Tensor)]}

    def _patch(self, image: Image.Image, corner: Tensor, x: int, y: int, cell: float) -> Tensor:
        length = cell * self.p["patch"]
        left, top = (
            corner + torch.tensor([x, y]) * cell + torch.rand(2) * (cell - length)
        ).tolist()
        box = (round(top), round(left), round(length), round(length))
        patch: Tensor = self.normal(F.resized_crop(image, *box, [self.px, self.px]))
        return patch


def _crops(count: int, **changes: bool | float) -> Callable[[StageSpec, Context], Crops]:
    def make(stage: StageSpec, ctx: Context) -> Crops:
        return Crops(ctx, {"view": (count, ctx.image_size, stage.params["crop"])}, **changes)

    return make


def _multi_crop(stage: StageSpec, ctx: Context) -> Crops:
    p, size = stage.params, ctx.image_size
    small = (p["small_crops"], small_size(size), p["small_crop"])
    return Crops(ctx, {"large_view": (LARGE, size, p["crop"]), "small_view": small})


OF_TASK: dict[str, Callable[[StageSpec, Context], Crops | Patches]] = {
    "moco": _crops(2),
    "byol": _crops(2),
    "odc": _crops(1),
    "rotation": _crops(1, vflip=False, rotate=0.0),
    "swav": _multi_crop,
    "relative_location": Patches,
}
