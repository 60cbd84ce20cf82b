"""Batches on the device: while one is trained on, a thread reads the pixels of the next.

    feed = Feed(data, data.split["train"], global_batch=32, seed=0, device=torch.device("cpu"))
    batch = feed.batch(step)

Pixels are copied once from the memory map to (pinned) memory, and to a GPU on a separate stream, so
that neither the host nor the training stream waits for them. A GPU with room for them keeps all
images, and only positions travel. A batch depends on seed and step only, never on what was read
ahead.
"""

import functools
import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.task import Batch, Draw
from trainables.training import distributed

Read = tuple[Tensor, Tensor]  # pixels and positions, on the device
SHARE = 0.1  # of a GPU's free memory that images may take: other processes train there too
BLOCK = 4096  # images uploaded at once


class Feed:
    """Shuffled batches of the images at `index` (cache positions), split between the ranks."""

    def __init__(
        self,
        data: Prepared,
        index: Index,
        global_batch: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self.data, self.index, self.seed, self.device = data, index, seed, device
        self.global_batch, self.local = global_batch, global_batch // distributed.world_size()
        self.epoch_steps = max(1, len(index) // global_batch)
        self.waited = 0.0  # seconds that `batch` has waited for pixels in total
        self._orders: dict[int, Index] = {}  # for the epoch read last
        self._ahead: tuple[int, Future[Read]] | None = None
        self._stream = _stream(device) if device.type == "cuda" else None
        size = len(index) * math.prod(data.images.shape[1:])
        self._resident = self._uploaded() if fits(size, device) else None  # [n, side, side, ...]
        self._pool = ThreadPoolExecutor(1, "feed", _settle, (self._stream,))

    def batch(self, step: int) -> Batch:
        """Return this rank's part of the global batch; an epoch uses each image at most once.

        If there are fewer images than a batch has, it repeats them as evenly as possible.
        """
        begun = time.perf_counter()
        ahead, self._ahead = self._ahead, None
        reading = ahead[1] if ahead and ahead[0] == step else self._pool.submit(self._read, step)
        pixels, positions = reading.result()
        self.waited += time.perf_counter() - begun
        if self._stream:
            here = torch.cuda.current_stream(self.device)
            here.wait_stream(self._stream)
            pixels.record_stream(here)
            positions.record_stream(here)
        self._ahead = step + 1, self._pool.submit(self._read, step + 1)
        return Batch(pixels, positions, Draw(self.seed, step, self.local, self.device), step)

    def pixels(self, positions: Tensor) -> Tensor:
        """Return the images at int64 [n] positions of `index`: uint8 [n, channels, side, side]."""
        if self._resident is None:
            found = self._taken(positions.cpu().numpy()).to(self.device, non_blocking=True)
        else:
            found = self._resident.index_select(0, positions.to(self.device))
        return found.permute(0, 3, 1, 2)

    def _taken(self, positions: Index | slice) -> Tensor:
        """Read images from the memory map: uint8 [n, side, side, channels]."""
        rows = self.index[positions]
        shape = (len(rows), *self.data.images.shape[1:])
        pixels = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self.data.take(rows, pixels.numpy())
        return pixels

    def _uploaded(self) -> Tensor:
        """Copy all images to the device."""
        shape = (len(self.index), *self.data.images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, device=self.device)
        for first in range(0, len(self.index), BLOCK):
            part = slice(first, first + BLOCK)
            images[part].copy_(self._taken(part), non_blocking=True)
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        return images

    def _read(self, step: int) -> Read:
        epoch, place = divmod(step, self.epoch_steps)
        if epoch not in self._orders:
            self._orders = {epoch: self._order(np.random.default_rng([self.seed, epoch]))}
        first = place * self.global_batch + distributed.rank() * self.local
        positions = torch.from_numpy(self._orders[epoch][first : first + self.local])
        if self._stream is None:
            return self.pixels(positions), positions
        with torch.cuda.stream(self._stream):
            moved = positions.pin_memory().to(self.device, non_blocking=True)
            return self.pixels(positions if self._resident is None else moved), moved

    def _order(self, rng: np.random.Generator) -> Index:
        """Return the positions of an epoch, batch after batch: one permutation after another."""
        count = self.epoch_steps * self.global_batch
        passes = -(-count // len(self.index))
        return np.concatenate([rng.permutation(len(self.index)) for _ in range(passes)])[:count]


def fits(size: int, device: torch.device) -> bool:
    """Return whether images of `size` bytes are kept on the device: on a GPU with room."""
    return device.type == "cuda" and size <= SHARE * torch.cuda.mem_get_info(device)[0]


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return one stream for all feeds: the allocator reuses memory only on its own stream."""
    return torch.cuda.Stream(device)


def _settle(stream: torch.cuda.Stream | None) -> None:
    """Move the new thread to the feed's GPU; it would allocate memory on the first one."""
    if stream:
        torch.cuda.set_device(stream.device)
