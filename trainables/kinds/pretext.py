"""Train one pretext task from the parent's backbone. Runs without Ray.

train_stage(spec, Runtime(), open_cache(folder), None, Path("out"), report=print)
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from trainables import networks, plugins
from trainables.augment import FullView
from trainables.backbone import save_backbone, trained_backbone
from trainables.errors import UserError
from trainables.images.cache import Prepared, Source
from trainables.images.pool import Pool
from trainables.kinds import Kind, Report, Work
from trainables.schema import read
from trainables.spec import BACKBONE, IMAGES, POOL, Runtime, StageSpec
from trainables.task import Context, Task
from trainables.training import distributed, frozen
from trainables.training.evaluation import evaluating, fit
from trainables.training.feed import Feed
from trainables.training.frozen import FrozenProbe
from trainables.training.loop import Loop, context
from trainables.training.partners import numbered
from trainables.training.step import Step, place
from trainables.workers.job import SAVING, Heartbeat, Result

HISTORY = "history.json"
TASKS = "trainables.pretext"
CONTROLLED = 8  # batches that a control is asked of


def train_stage(
    spec: StageSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
    labelled: Prepared | None = None,
) -> dict[str, float]:
    """Train the stage to its end, resuming from a checkpoint in `out_dir` if there is one.

    Writes backbone.safetensors (torchvision's keys), whose BatchNorm statistics are those of full
    views, and history.json to `out_dir`; returns the result: loss, lr, lr_at_edge,
    images_per_second, seconds, ... parent_dir: None for scratch. labelled: the images that the
    backbone is probed with, if `spec.trained.probed`. Raises StageFailed with the reason, UserError
    for a batch above the data, Stopped if `report` answers True.
    """
    make, index = partial(build, spec, parent_dir), data.split["train"]
    probe = None
    if spec.trained.probed and labelled is not None:
        probe = FrozenProbe.of(spec, labelled, runtime)
    grouped = read(_kind(spec).Params, spec.params).grouped
    loop = Loop(
        make, spec, data, index, runtime, out_dir, report,
        probe=probe, patient_groups=numbered(data, index) if grouped else None,
    )  # fmt: skip
    outcome = loop.train()
    outcome.result |= controlled(outcome.task, loop)
    fit_full_views(outcome.task, loop)
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save_backbone(outcome.task.backbone, out_dir)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
    return outcome.result


def controlled(task: Task, loop: Loop) -> dict[str, float]:
    """Return how much of the task's accuracy a shortcut explains, if the task has a control."""
    with evaluating(task):
        batches = (loop.feed.batch(loop.steps + k) for k in range(min(CONTROLLED, loop.steps)))
        found = [told for batch in batches if (told := task.shortcut(batch)) is not None]
    if not found:
        return {}
    seen, blind = distributed.all_mean(torch.stack(found).mean(0)).tolist()
    return {"control_accuracy": blind, "controlled_accuracy": seen}


def fit_full_views(task: Task, loop: Loop) -> None:
    """Fit the backbone's BatchNorm to full views: the task's own are patches or crops."""
    known = task.context
    full = FullView(known.mean, known.std, known.image_size).to(loop.device)
    encode = nn.Sequential(full, task.backbone)
    some = loop.index[: loop.steps * known.global_batch]  # a short stage is not made longer
    fit(task.backbone, encode, loop.data, some, loop.runtime)


def _kind(spec: StageSpec) -> type[Task]:
    found: type[Task] = plugins.load(TASKS, spec.name)
    return found


def build(spec: StageSpec, parent_dir: Path | None, context: Context) -> Task:
    """Return the stage's fresh task on the backbone of `parent_dir`."""
    backbone = trained_backbone(spec.trained, context.channels, parent_dir)
    return _kind(spec)(backbone, spec.params, context)


def started(spec: StageSpec, data: Prepared, device: torch.device) -> tuple[Step, Feed]:
    """Return a training step from scratch at the lowest learning rate, and the feed of its batches.

    For measurements outside a stage.
    """
    training, index = spec.trained, data.split["train"]
    feed = Feed(data, index, training.global_batch, spec.seed, device)
    known = context(spec, len(index), data.mean, data.std, classes=len(data.classes))
    torch.manual_seed(spec.seed)
    task, rate = build(spec, None, known), training.lr.range[0]
    optimizer = place(task, training, rate, device)
    task.start(feed.pixels)
    return Step(task.train(), task, optimizer, training, rate, known.steps), feed


def _check_partners(task: str, source: Source) -> None:
    """Raise UserError unless some patient has several images to train on."""
    own = source.labelled if isinstance(source, Pool) else source
    groups = [own.table.groups[row] for row in own.split["train"]]
    groups += source.table.groups if isinstance(source, Pool) else []
    if max(Counter(filter(None, groups)).values(), default=0) < 2:
        raise UserError(
            f"tasks.{task}.params.positives=group: must have a patient with several images to "
            f"train on, and each of the {len(groups)} images is alone; try positives=image, or "
            "name the patients"
        )


class Plugin(Kind):
    """A stage of a chain: its task is `spec.name`, its images the role `pool`.

    If it is probed on the way, the labelled images are the role `images`.
    """

    version = "2"

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        task = _kind(spec)
        params = read(task.Params, spec.params, f"tasks.{spec.name}.params")
        if spec.trained.probed:
            labelled = tables[IMAGES]
            frozen.chosen(spec, labelled.table, labelled.split["train"])
        if source := tables.get(POOL):
            unknown = (0.5,) * source.spec.channels  # mean and std, which no check uses
            images, classes = len(source.split["train"]), len(source.classes)
            known = context(spec, images, unknown, unknown, classes=classes)
            params.check(known)
            if params.grouped:
                _check_partners(spec.name, source)
            networks.check_sides(
                spec.trained.backbone,
                known.image_size,
                lambda side: params.sides(replace(known, image_size=side)),
                f"tasks.{spec.name}",
            )
            build(spec, None, known)  # UserError if the task can't train the backbone

    def run(self, work: Work) -> Result:
        parent = work.inputs.get(BACKBONE)
        data, labelled = work.data[POOL], work.data.get(IMAGES)
        done = train_stage(work.spec, work.runtime, data, parent, work.out, work.report, labelled)
        return Result(done)
