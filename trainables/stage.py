"""One stage: train a pretext task from the parent's backbone. Runs without Ray.

train_stage(spec, Runtime(), open_cache(folder), None, Path("out"), report=print)
"""

import json
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trainables import plugins
from trainables.backbone import Backbone
from trainables.images.cache import Prepared
from trainables.spec import Runtime, StageSpec
from trainables.task import Context, Task
from trainables.training import distributed
from trainables.training.feed import Feed
from trainables.training.loop import Loop, Report, context
from trainables.training.step import Step, place
from trainables.workers.job import SAVING, Heartbeat

BACKBONE, HISTORY = "backbone.safetensors", "history.json"


def train_stage(
    spec: StageSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
) -> dict[str, float]:
    """Train the stage to its end, resuming from a checkpoint in `out_dir` if there is one.

    Writes backbone.safetensors (torchvision's keys) and history.json to `out_dir`; returns the
    result: loss, lr, lr_at_edge, images_per_second, seconds, ... parent_dir: None for scratch.
    Raises StageFailed with the reason, UserError for a batch above the data, Stopped if `report`
    answers True.
    """
    make = partial(build, spec, parent_dir)
    outcome = Loop(make, spec, data, data.split["train"], runtime, out_dir, report).train()
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save(outcome.task.backbone, out_dir / BACKBONE)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
    return outcome.result


def build(spec: StageSpec, parent_dir: Path | None, context: Context) -> Task:
    """Return the stage's fresh task on the backbone of `parent_dir`."""
    backbone = Backbone(spec.training.backbone, context.channels)
    load_backbone(backbone, parent_dir)
    task: Task = plugins.load("trainables.pretext", spec.pretext)(backbone, spec.params, context)
    return task


def started(spec: StageSpec, data: Prepared, device: torch.device) -> tuple[Step, Feed]:
    """Return a training step from scratch at the lowest learning rate, and the feed of its batches.

    For measurements outside a stage.
    """
    training, index = spec.training, data.split["train"]
    feed = Feed(data, index, training.global_batch, spec.seed, device)
    known = context(training, len(index), spec.augment, spec.seed, data.mean, data.std)
    torch.manual_seed(spec.seed)
    task, rate = build(spec, None, known), training.lr.range[0]
    optimizer = place(task, training, rate, device)
    task.start(feed.pixels)
    return Step(task.train(), task, optimizer, training, rate, known.steps), feed


def load_backbone(backbone: Backbone, folder: Path | None) -> None:
    """Load weights and BatchNorm statistics of the stage in `folder`; None changes nothing."""
    if folder is not None:
        backbone.load_state_dict(load_file(folder / BACKBONE))


def save(module: nn.Module, path: Path) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, path)
