"""Ways to feed one and the same training step.

    Ours(stage, images, device)            the whole pipeline, as a search trains
    Ours(..., pixels="resident")           one batch of pixels on the device; views made each step
    Ours(..., pixels="resident", made=True)    the same views again and again: the step alone
    Public(stage, images, device, cores)   torchvision's transforms in a DataLoader, from JPEG files

In `Public` model, loss and optimiser are those of our task with plain BatchNorm; its views come
from the loader. What is compared is therefore where the views come from, and nothing else.

A DataLoader gets what a careful user gives it: a worker a core, all of them at work on each batch
(a worker makes small pieces of it, in any order), started once. Between its turns they rest.
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

from trainables.augment import View
from trainables.bench.images import Images
from trainables.bench.public import ImageViews, Views
from trainables.spec import StageSpec
from trainables.task import Batch, Context, Draw, Task
from trainables.training.feed import Feed
from trainables.training.loop import context
from trainables.training.step import stepper

AHEAD = 2  # pieces that each worker of a DataLoader makes ahead
PIECE = 16  # images of a piece, at most
REST = 60.0  # seconds; a worker whose parent was killed must wake to notice
ENDLESS = 1 << 40  # images of a pass
Row = dict[str, Tensor]


class Pipeline:
    """`open`, `step` after `step`, `close`; in the end `end`. `waited`: seconds without data."""

    warm = 2  # steps after `open` before its rate is the lasting one
    waited = 0.0
    held = 0  # bytes on a GPU between its turns
    workers: Sequence[psutil.Process] = ()

    def open(self) -> None: ...

    def step(self) -> Row:
        raise NotImplementedError

    def close(self) -> None: ...

    def end(self) -> None: ...


class Ours(Pipeline):
    """Our task, fed from the cache or with one batch that lies on the device."""

    def __init__(
        self,
        stage: StageSpec,
        images: Images,
        device: torch.device,
        pixels: Literal["cache", "resident"] = "cache",
        made: bool = False,
    ) -> None:
        self.feed = feed_of(stage, images, device)
        self.advance = stepper(stage, self.context_of(stage, images), stage.training, self.feed)
        self.resident = self.feed.batch(0) if pixels == "resident" else None
        self.done = 0
        if made:
            keep_views(self.advance.task, self.step)

    @staticmethod
    def context_of(stage: StageSpec, images: Images) -> Context:
        mean, std = images.prepared.mean, images.prepared.std
        return context(stage.training, len(images.index), stage.augment, stage.seed, mean, std)

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


class Made(nn.Module):
    """In place of a task's views: gives, in turn, those it was given."""

    def __init__(self, views: list[Tensor]) -> None:
        super().__init__()
        self.views, self.turn = views, -1

    def forward(self, images: Tensor, draw: Draw) -> Tensor:  # noqa: ARG002
        self.turn = (self.turn + 1) % len(self.views)
        return self.views[self.turn]


def feed_of(stage: StageSpec, images: Images, device: torch.device) -> Feed:
    batch = stage.training.global_batch
    return Feed(images.prepared, images.index, batch, stage.seed, device)


def view_makers(task: Task) -> dict[str, Any]:
    """What makes a task's views, by attribute."""
    found: dict[str, Any] = {n: made for n, made in task.named_children() if isinstance(made, View)}
    return found | ({"patches": task.patches} if hasattr(task, "patches") else {})


def keep_views(task: Task, step: Callable[[], Any]) -> dict[str, Made]:
    """Make one step, and from then on the views that it made are those of every step."""
    kept: Views = {}

    def keeping(name: str, maker: Callable[[Tensor, Draw], Tensor]) -> Callable[..., Tensor]:
        def make(images: Tensor, draw: Draw) -> Tensor:
            kept.setdefault(name, []).append(maker(images, draw))
            return kept[name][-1]

        return make

    for name, maker in view_makers(task).items():
        replace_view(task, name, keeping(name, maker))
    step()
    made = {name: Made(views) for name, views in kept.items()}
    for name, view in made.items():
        replace_view(task, name, view)
    return made


def replace_view(task: Task, name: str, view: Callable[[Tensor, Draw], Tensor]) -> None:
    """Past `nn.Module`, so that a method may be replaced and a submodule by what is none."""
    object.__setattr__(task, name, view)


class Files(Dataset[tuple[Views, int]]):
    """JPEG files and their positions; `views` is called with each image, in a worker."""

    def __init__(self, files: list[Path], views: Callable[[Image.Image], Views]) -> None:
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
        self,
        images: Images,
        views: Callable[[Image.Image], Views],
        batch: int,
        device: torch.device,
        cores: int,
    ) -> None:
        piece = math.gcd(batch, PIECE)
        self.device, self.pieces = device, batch // piece
        self.warm = 1 + -(-AHEAD * cores // self.pieces)  # until what was made at rest is used
        self.files = Files([images.files[row] for row in images.index], views)
        self.loader: DataLoader[Any] = DataLoader(
            self.files, piece, sampler=RandomSampler(self.files, True, ENDLESS),
            num_workers=cores, prefetch_factor=AHEAD, pin_memory=device.type == "cuda",
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
        """Workers rest: they must not work while another pipeline is timed."""
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
        given = [views for views, _ in pieces]
        joined = {
            name: [self._joined(parts) for parts in zip(*(one[name] for one in given), strict=True)]
            for name in given[0]
        }
        return self.train(joined, self._joined([positions for _, positions in pieces]))

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.to(self.device, non_blocking=True) for part in parts])

    def train(self, views: Views, positions: Tensor) -> Row:
        raise NotImplementedError


class Public(Loaded):
    """Our step, with torchvision's equals of the views that a first step of the task made."""

    def __init__(self, stage: StageSpec, images: Images, device: torch.device, cores: int) -> None:
        plain, feed = replace(stage.training, bn_groups=1), feed_of(stage, images, device)
        self.advance = stepper(stage, Ours.context_of(stage, images), plain, feed)
        makers = view_makers(self.advance.task)
        self.views = keep_views(self.advance.task, lambda: self.advance(feed.batch(0)))
        views = ImageViews({n: (makers[n], len(made.views)) for n, made in self.views.items()})
        super().__init__(images, views, plain.global_batch, device, cores)
        self.empty, self.done = torch.empty(0, dtype=torch.uint8, device=device), 0

    def train(self, views: Views, positions: Tensor) -> Row:
        for name, given in views.items():
            self.views[name].views = given
        draw = Draw(0, self.done, len(positions), self.device)
        self.done += 1
        return self.advance(Batch(self.empty, positions, draw, self.done - 1))
