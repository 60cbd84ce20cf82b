"""A U-Net on any backbone: its last maps are enlarged, joined by the finer maps on their way.

    network = Segmenter(backbone, context, masks)
    network.inside(images)             # uint8 [n, channels, side, side] -> [n, size, size], 0..1

The finer maps are what the backbone's modules give at each resolution, the last of each. Those of a
plain vision transformer have one resolution, so there it is a decoder alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainables import networks
from trainables.augment import FullView, Pixels, sample
from trainables.backbone import Backbone, used
from trainables.task import Batch, Context, Draw, ParameterGroup, Task, lr_scaled

Masks = Callable[[Tensor], Tensor]
WIDEST = 128  # channels of the decoder's blocks
LEAST = 0.5  # of an image's area, in a view


class Segmenter(Task):
    """Tells which pixels are inside, by cross-entropy and Dice's loss.

    masks: returns those at int64 [n] positions of the images trained on, uint8 [n, 1, side, side],
    255 inside, on the device. head_lr: times the backbone's learning rate, for the decoder.
    """

    def __init__(
        self, backbone: Backbone, context: Context, masks: Masks, head_lr: float = 1.0
    ) -> None:
        super().__init__(backbone, {}, context)
        self.masks, self.head_lr = masks, head_lr
        size = context.image_size
        used(backbone, context.empty, backbone.maps)
        self.skips = finer(backbone.net, context.channels, size)
        self.head = Decoder(backbone.map_width, [*self.skips.values()])
        self.full = FullView(context.mean, context.std, size)

    def logits(self, views: Tensor) -> Tensor:
        """Return logits of normalised views: [n, channels, size, size] -> [n, size, size]."""
        with _kept(self.backbone.net, [*self.skips]) as found:
            maps = self.backbone.maps(views)
        logits = self.head(maps, [found[name] for name in self.skips]).float()
        return _enlarged(logits, views.shape[-2:])[:, 0]

    def inside(self, images: Tensor) -> Tensor:
        """Return how likely each pixel is inside: [n, channels, side, side] -> [n, size, size]."""
        return self.logits(self.full(images)).sigmoid()

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        masks = _enlarged(self.masks(batch.index).float() / 255, batch.images.shape[-2:])
        both = torch.cat([batch.images.float(), masks], 1)
        with torch.autocast(both.device.type, enabled=False):
            both = self._moved(both, batch.draw)
        views, true = self.full(both[:, :-1]), both[:, -1]
        logits = self.logits(views)
        said = logits.sigmoid()
        overlap = 2 * (said * true).sum((1, 2)) + 1
        dice = overlap / (said.sum((1, 2)) + true.sum((1, 2)) + 1)
        loss = F.binary_cross_entropy_with_logits(logits, true) + 1 - dice.mean()
        right = ((logits > 0) == (true > 0.5)).float().mean()
        return loss, {"accuracy": right.detach()}

    def chance_level(self) -> float:
        return 0.5

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return those of the backbone and those of the decoder, with learning rates of its own."""
        return lr_scaled(super().parameter_groups(), self.head, self.head_lr)

    def _moved(self, both: Tensor, draw: Draw) -> Tensor:
        """Return a random crop of each image with its mask, mirrored where the modality allows."""
        area, x, y, mirror, upset = draw.uniform(5).unbind(1)
        scale = (LEAST + (1 - LEAST) * area).sqrt()
        theta = torch.zeros(len(both), 2, 3, device=both.device)
        preset = self.context.augment
        theta[:, 0, 0] = scale * torch.where((mirror < 0.5) & preset.hflip, -1.0, 1.0)
        theta[:, 1, 1] = scale * torch.where((upset < 0.5) & preset.vflip, -1.0, 1.0)
        theta[:, :, 2] = torch.stack([2 * x - 1, 2 * y - 1], 1) * (1 - scale)[:, None]
        size = self.context.image_size
        grid = F.affine_grid(theta, [*both.shape[:2], size, size], align_corners=False)
        spacing = both.shape[-1] / size
        return sample(Pixels(both).halvings(spacing), grid, scale * spacing)


class Decoder(nn.Module):
    """From the last maps, by the finer ones, to one channel. skips: channels, the finest first."""

    def __init__(self, width: int, skips: list[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for skip in reversed(skips):
            out = min(WIDEST, max(16, skip))
            self.blocks.append(nn.Sequential(*_block(width + skip, out), *_block(out, out)))
            width = out
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, maps: Tensor, finer: list[Tensor]) -> Tensor:
        for block, skip in zip(self.blocks, reversed(finer), strict=True):
            maps = block(torch.cat([_enlarged(maps, skip.shape[-2:]), skip], 1))
        return self.last(maps)


def _block(width: int, out: int) -> list[nn.Module]:
    return [nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, [*size], mode="bilinear", align_corners=False)


@torch.no_grad()
def finer(net: nn.Module, channels: int, size: int) -> dict[str, int]:
    """Return the modules that give the finer maps, the finest first, with their channels."""
    names = [name for name, _ in net.named_modules() if name]
    was = net.training
    with _kept(net.eval(), names) as found:
        last = networks.maps(net, torch.zeros(1, channels, size, size)).shape[-1]
    net.train(was)
    sides = {maps.shape[-1]: (name, maps.shape[1]) for name, maps in found.items()}
    return dict(sides[side] for side in sorted(sides, reverse=True) if last < side < size)


@contextmanager
def _kept(net: nn.Module, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what modules give in the block, of square maps with channels first, the last last."""
    found = dict[str, Tensor]()

    def keep(name: str, given: object) -> None:
        if isinstance(given, Tensor) and given.ndim == 4 and given.shape[2] == given.shape[3]:
            found.pop(name, None)
            found[name] = given

    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, given, name=name: keep(name, given)
        )
        for name in names
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
