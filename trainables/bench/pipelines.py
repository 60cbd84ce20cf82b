"""Pipelines that feed one and the same training step in different ways.

    Ours(stage, data, device)        the whole pipeline, as a search trains
    Ours(..., "pixels")              one batch of pixels on the device; new views in every step
    Ours(..., "views")               the same views in every step: the step alone
    Public(stage, images, device)    torchvision in a DataLoader, from JPEG files

`Public` trains our task's model, loss and optimiser with plain BatchNorm; its views come from the
loader. The comparison is therefore of where the views come from, and of nothing else.

The DataLoader is set up as a careful user does it: one worker per core, started once, and all of
them busy with each batch (a worker makes small pieces of it, in any order). Workers rest between
the turns of their pipeline.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from trainables.bench.images import Images
from trainables.bench.public import EQUALS, MakeViews, Views, image_views
from trainables.images.cache import Prepared
from trainables.kinds.pretext import started
from trainables.processor import cores
from trainables.spec import StageSpec
from trainables.task import Batch, Draw, Task

AHEAD = 2  # pieces that each worker of a DataLoader makes ahead
PIECE = 16  # images in a piece, at most
REST = 60.0  # seconds; a worker whose parent was killed must wake up to notice it
ENDLESS = 1 << 40  # images per pass
Row = dict[str, Tensor]
Repeated = Literal["", "pixels", "views"]


class Pipeline:
    """Call `open`, any number of `step`s and `close` in every turn; finally `end`."""

    warm = 2  # steps after `open` that are not timed
    waited = 0.0  # seconds without data since `open`
    kept = 0  # bytes on a GPU between its turns
    workers: Sequence[psutil.Process] = ()

    def open(self) -> None: ...

    def step(self) -> Row:
        raise NotImplementedError

    def close(self) -> None: ...

    def end(self) -> None: ...


class Ours(Pipeline):
    """Our task, fed from the cache; repeated: what all steps share and find on the device."""

    def __init__(
        self, stage: StageSpec, data: Prepared, device: torch.device, repeated: Repeated = ""
    ) -> None:
        self.advance, self.feed = started(stage, data, device)
        self.resident = self.feed.batch(0) if repeated else None
        self.done = 0
        if repeated == "views":
            keep_views(self.advance.task, self.step)

    def open(self) -> None:
        self.feed.waited = 0.0

    def step(self) -> Row:
        if self.resident is None:
            row = self.advance(self.feed.batch(self.done))
            self.waited = self.feed.waited
        else:
            draw = Draw(0, self.done, len(self.resident.index), self.feed.device)
            row = self.advance(replace(self.resident, draw=draw, step=self.done))
        self.done += 1
        return row


class Kept(nn.Module):
    """In place of a task's view maker: keeps the views that it makes, and later repeats them."""

    def __init__(self, maker: nn.Module) -> None:
        super().__init__()
        self.maker, self.views, self.turn = maker, list[Tensor](), 0
        self.repeating = False

    def forward(self, images: Any, draw: Draw, copies: int = 1) -> Tensor:
        if not self.repeating:
            made = self.maker(images, draw, *([copies] if copies > 1 else []))
            self.views += made.unflatten(0, (-1, copies)).unbind(1)
            return made
        views = [self.views[(self.turn + k) % len(self.views)] for k in range(copies)]
        self.turn += copies
        return torch.stack(views, 1).flatten(0, 1) if copies > 1 else views[0]


def keep_views(task: Task, step: Callable[[], object]) -> dict[str, Kept]:
    """Make one step; every later step repeats its views. Returns them by the task's attribute."""
    kept = {name: Kept(made) for name, made in task.named_children() if type(made) in EQUALS}
    for name, one in kept.items():
        setattr(task, name, one)
    step()
    for one in kept.values():
        one.repeating = True
    return kept


class Files(Dataset[tuple[Views, int]]):
    """Image files and their positions; `views` is called with each image, in a worker."""

    def __init__(self, files: list[Path], views: MakeViews) -> None:
        self.files, self.views, self.go = files, views, torch.multiprocessing.Event()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> tuple[Views, int]:
        self.go.wait(REST)
        with Image.open(self.files[position]) as image:
            return self.views(image.convert("RGB")), position


class Loaded(Pipeline):
    """Fed by a DataLoader whose workers live until `end`, and work from `open` to `close`."""

    def __init__(
        self, files: list[Path], views: MakeViews, batch: int, device: torch.device, workers: int
    ) -> None:
        piece = math.gcd(batch, PIECE)
        self.device, self.pieces = device, batch // piece
        self.warm = 1 + -(-AHEAD * workers // self.pieces)  # until pieces made at rest are used up
        self.files = Files(files, views)
        self.loader: DataLoader[Any] = DataLoader(
            self.files, piece, sampler=RandomSampler(self.files, True, ENDLESS),
            num_workers=workers, prefetch_factor=AHEAD, pin_memory=device.type == "cuda",
            in_order=False,
        )  # fmt: skip
        self.made: Iterator[tuple[Views, Tensor]] | None = None

    def open(self) -> None:
        self.files.go.set()
        self.waited = 0.0
        if self.made is None:
            others = psutil.Process().children()
            self.made = iter(self.loader)
            self.workers = [one for one in psutil.Process().children() if one not in others]

    def close(self) -> None:
        """Stop the workers, which must not work while another pipeline is timed."""
        self.files.go.clear()
        self.warm = 1

    def end(self) -> None:
        self.files.go.set()
        self.made = None
        gc.collect()

    def step(self) -> Row:
        assert self.made is not None
        begun = time.perf_counter()
        pieces = [next(self.made) for _ in range(self.pieces)]
        self.waited += time.perf_counter() - begun
        views, positions = zip(*pieces, strict=True)
        joined = {
            name: [self._joined(parts) for parts in zip(*(one[name] for one in views), strict=True)]
            for name in views[0]
        }
        return self.train(joined, self._joined(positions))

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.to(self.device, non_blocking=True) for part in parts])

    def train(self, views: Views, positions: Tensor) -> Row:
        """Make one step on a batch of views; positions: int64 [b], of their files."""
        raise NotImplementedError


class Public(Loaded):
    """Our step on views from torchvision, as many as the task made in a first step."""

    def __init__(self, stage: StageSpec, images: Images, device: torch.device) -> None:
        plain = replace(stage, training=replace(stage.trained, bn_groups=1))
        self.advance, feed = started(plain, images.prepared, device)
        self.kept_views = keep_views(self.advance.task, lambda: self.advance(feed.batch(0)))
        views = image_views({n: (one.maker, len(one.views)) for n, one in self.kept_views.items()})
        super().__init__(images.files, views, feed.global_batch, device, cores())
        self.empty, self.done = torch.empty(0, dtype=torch.uint8, device=device), 0

    def train(self, views: Views, positions: Tensor) -> Row:
        for name, given in views.items():
            self.kept_views[name].views = given
        draw = Draw(0, self.done, len(positions), self.device)
        self.done += 1
        return self.advance(Batch(self.empty, positions, draw, self.done - 1))
