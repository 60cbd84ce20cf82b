"""Ways to feed one and the same training step.

    Ours(stage, images, device)            the whole pipeline, as a search trains
    Ours(..., pixels="resident")           one batch of pixels on the device; views made each step
    Ours(..., pixels="resident", made=True)    the same views again and again: the step alone
    Public(stage, images, device, cores)   torchvision's transforms in a DataLoader, from JPEG files

In `Public` model, loss and optimiser are those of our task with plain BatchNorm; its views come
from the loader. What is compared is therefore where the views come from, and nothing else.
"""

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from trainables.bench.images import Images
from trainables.spec import StageSpec
from trainables.task import Batch, Context, Draw, Task
from trainables.training.feed import Feed
from trainables.training.loop import context
from trainables.training.step import stepper

VIEWS = ("view", "large_view", "small_view", "patches")  # attributes of tasks that make views
AHEAD = 2  # batches that each worker of a DataLoader reads ahead
Row = dict[str, Tensor]


class Pipeline:
    """`open`, then `step` after `step`, then `close`; `waited`: seconds that steps had no data."""

    warm = 2  # steps after `open` before its rate is the lasting one
    waited = 0.0
    held = 0  # bytes on a GPU between its turns

    def open(self) -> None: ...

    def step(self) -> Row:
        raise NotImplementedError

    def close(self) -> None: ...


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


def keep_views(task: Task, step: Callable[[], Any]) -> None:
    """Make one step, and from then on the views that it made are those of every step."""
    kept: dict[str, list[Tensor]] = {}
    makers = {name: getattr(task, name) for name in VIEWS if hasattr(task, name)}

    def keeping(name: str) -> Callable[[Tensor, Draw], Tensor]:
        def make(images: Tensor, draw: Draw) -> Tensor:
            kept.setdefault(name, []).append(makers[name](images, draw))
            return kept[name][-1]

        return make

    for name in makers:
        replace_view(task, name, keeping(name))
    step()
    for name, views in kept.items():
        replace_view(task, name, Made(views))


def replace_view(task: Task, name: str, view: Callable[[Tensor, Draw], Tensor]) -> None:
    """Past `nn.Module`, so that a method may be replaced and a submodule by what is none."""
    object.__setattr__(task, name, view)


class Files(Dataset[tuple[dict[str, list[Tensor]], int]]):
    """JPEG files and their positions; `views` is called with each image, in a worker."""

    def __init__(self, files: list[Path], views: Callable[[Image.Image], Any]) -> None:
        self.files, self.views = files, views

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        with Image.open(self.files[position]) as image:
            return self.views(image.convert("RGB")), position


class Loaded(Pipeline):
    """Fed by a DataLoader whose workers live from `open` to `close`."""

    def __init__(
        self,
        images: Images,
        views: Callable[[Image.Image], Any],
        batch: int,
        device: torch.device,
        cores: int,
    ) -> None:
        self.device, self.warm = device, 1 + AHEAD * cores
        files = [images.files[row] for row in images.index]
        self.loader: DataLoader[Any] = DataLoader(
            Files(files, views), batch, shuffle=True, num_workers=cores, drop_last=True,
            prefetch_factor=AHEAD, pin_memory=device.type == "cuda", persistent_workers=False,
        )  # fmt: skip
        self.batches: Iterator[Any] | None = None

    def open(self) -> None:
        self.waited, self.batches = 0.0, iter(self.loader)

    def close(self) -> None:
        """Ends the workers: they must not read ahead while another pipeline is timed."""
        self.batches = None
        gc.collect()

    def step(self) -> Row:
        begun = time.perf_counter()
        views, positions = self._next()
        self.waited += time.perf_counter() - begun
        return self.train(views, positions.to(self.device, non_blocking=True))

    def _next(self) -> Any:
        assert self.batches is not None
        if (found := next(self.batches, None)) is None:
            self.batches = iter(self.loader)
            found = next(self.batches)
        return found

    def train(self, views: Any, positions: Tensor) -> Row:
        raise NotImplementedError

    def moved(self, views: Tensor) -> Tensor:
        return views.to(self.device, non_blocking=True)


class Public(Loaded):
    """views: of one image, by the attribute of the task that they replace."""

    def __init__(
        self,
        stage: StageSpec,
        images: Images,
        device: torch.device,
        cores: int,
        views: Callable[[Image.Image], dict[str, list[Tensor]]],
    ) -> None:
        super().__init__(images, views, stage.training.global_batch, device, cores)
        plain, feed = replace(stage.training, bn_groups=1), feed_of(stage, images, device)
        self.advance = stepper(stage, Ours.context_of(stage, images), plain, feed)
        self.made = {name: Made([]) for name in VIEWS if hasattr(self.advance.task, name)}
        for name, view in self.made.items():
            replace_view(self.advance.task, name, view)
        self.empty, self.done = torch.empty(0, dtype=torch.uint8, device=device), 0

    def train(self, views: dict[str, list[Tensor]], positions: Tensor) -> Row:
        for name, given in views.items():
            self.made[name].views = [self.moved(view) for view in given]
        draw = Draw(0, self.done, len(positions), self.device)
        self.done += 1
        return self.advance(Batch(self.empty, positions, draw, self.done - 1))
