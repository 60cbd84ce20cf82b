"""Apply a network to many images, in batches that the ranks share."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.backbone import fit_statistics, in_one_group
from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.spec import Runtime
from trainables.training import distributed
from trainables.training.lengths import FITTED

BATCH = 256


def over(
    index: Index,
    data: Prepared,
    runtime: Runtime,
    module: nn.Module,
    apply: Callable[[Tensor], Tensor],
) -> Tensor:
    """Apply a function to the images at `index` in batches; every rank returns all results."""
    return over_rows(index, module, lambda rows: apply(pixels(data, rows, runtime)))


def over_rows(index: Index, module: nn.Module, apply: Callable[[Index], Tensor]) -> Tensor:
    """Apply a function to batches of rows, as `over` does to the images there."""
    world, rank = distributed.world_size(), distributed.rank()
    local = -(-len(index) // world)
    padded = np.resize(index, local * world)[rank * local : (rank + 1) * local]
    parts = []
    with evaluating(module):
        for first in range(0, max(local, 1), BATCH):  # of no image: one empty batch
            parts.append(apply(padded[first : first + BATCH]))
        return distributed.all_gather(torch.cat(parts))[: len(index)].float().cpu()


def fit(
    module: nn.Module,
    encode: Callable[[Tensor], Any],
    data: Prepared,
    index: Index,
    runtime: Runtime,
) -> None:
    """Refit BatchNorm's statistics on some of the images at `index`, the same on every rank.

    Running averages lag behind weights that still move, and may be those of patches or crops.
    encode: runs `module` on one batch of uint8 [n, channels, side, side].
    """
    chosen = np.random.default_rng(0).permutation(index)[:FITTED]
    parts = np.array_split(chosen, max(1, len(chosen) // BATCH))
    with in_one_group(module):  # every rank sees whole batches
        fit_statistics(module, encode, (pixels(data, part, runtime) for part in parts))


def pixels(data: Prepared, index: Index, runtime: Runtime) -> Tensor:
    """Return images on the device: uint8 [n, channels, side, side]."""
    found = np.empty((len(index), *data.images.shape[1:]), np.uint8)
    data.take(index, found)
    return torch.from_numpy(found).permute(0, 3, 1, 2).to(runtime.device)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode without gradients for the block."""
    was = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(was)
