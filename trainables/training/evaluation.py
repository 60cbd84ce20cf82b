"""Apply a network to many images, in batches that the ranks share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.spec import Runtime
from trainables.training import distributed
from trainables.training.loop import evaluating

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


def pixels(data: Prepared, index: Index, runtime: Runtime) -> Tensor:
    """Return images on the device: uint8 [n, channels, side, side]."""
    found = np.empty((len(index), *data.images.shape[1:]), np.uint8)
    data.take(index, found)
    return torch.from_numpy(found).permute(0, 3, 1, 2).to(runtime.device)
