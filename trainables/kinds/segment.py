"""Fine-tune a backbone with a U-Net's decoder on masks, and measure it on the validation split.

Only images with a mask count: those of the training split are trained on, those of validation
judged, at the network's resolution. Writes backbone, segmenter, which draws masks of other images
(see `drawn_masks`), meta.json, history.json and overlaps_{val,test}.parquet; only the report reads
that of test, and once.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainables.backbone import save_backbone, trained_backbone
from trainables.downstream.metrics import GroupBootstrap, interval
from trainables.downstream.unet import Segmenter
from trainables.errors import StageFailed, UserError
from trainables.images.cache import Prepared, Source
from trainables.images.splits import Index, subset
from trainables.kinds import Kind, Work, drawn_masks
from trainables.kinds.classify import META
from trainables.kinds.pretext import HISTORY
from trainables.schema import HeadRate, Schema, read
from trainables.spec import BACKBONE, IMAGES, MASKS, MeasureType, Runtime, Score, StageSpec
from trainables.storage import SEGMENTER
from trainables.task import Context, Task
from trainables.training import distributed
from trainables.training.evaluation import fit, over_rows, pixels
from trainables.training.loop import Loop
from trainables.workers.job import SAVING, Heartbeat, Result

OVERLAPS = "overlaps_{}.parquet"  # of a part
HALF = 127.5  # of a mask's levels
MEASURES = {
    one.name: one
    for one in (MeasureType("dice", "Dice"), MeasureType("iou", "intersection over union"))
}


class Plugin(Kind):
    """Fine-tune on the roles `images` and `masks`, and score on the validation split."""

    @dataclass(frozen=True)
    class Params(Schema):
        """objective: the measure that is told on the way and decides the learning rate.

        head_lr: times the backbone's learning rate, for the decoder.
        """

        objective: Literal["dice", "iou"] = "dice"
        head_lr: HeadRate = 10.0

    version = "5"
    measures: ClassVar = MEASURES
    shown: ClassVar = ("dice", "iou")

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        if MASKS not in {**spec.data, **spec.inputs}:
            raise UserError(
                "downstream.kind=segment: must have masks of the images, and there are none; try "
                "data.masks=PATH, a folder or CheXmask's CSV file"
            )
        if MASKS in tables:
            check_parts(tables[MASKS].split["train"], tables[MASKS].split["val"])

    def run(self, work: Work) -> Result:
        spec, data, masks = work.spec, work.data[IMAGES], work.data[MASKS]
        training, params = spec.trained, read(self.Params, spec.params)
        part = {name: with_mask(data, masks, index) for name, index in data.split.items()}
        train, val = part["train"], part["val"]
        check_parts(train, val)
        index = subset(data.labels, data.groups, train, training.fraction, spec.seed)
        rows = places(data, masks, index)

        def shown(positions: Tensor) -> Tensor:
            return pixels(masks, rows[positions.cpu().numpy()], work.runtime)

        def make(context: Context) -> Segmenter:
            parent = work.inputs.get(BACKBONE)
            backbone = trained_backbone(training, context.channels, parent)
            return Segmenter(backbone, context, shown, params.head_lr)

        def judged(task: Task, *names: str) -> dict[str, NDArray[np.floating]]:
            assert isinstance(task, Segmenter), type(task)
            fit(task, task.inside, data, index, work.runtime)
            known = [name for name in names if len(part[name])]
            return {k: overlaps(task, data, masks, part[k], work.runtime) for k in known}

        def evaluate(task: Task) -> float:
            found = judged(task, "val")["val"]
            value = float(100 * found[:, [*MEASURES].index(params.objective)].mean())
            if not math.isfinite(value):
                raise StageFailed(f"{params.objective} is not finite on the validation images")
            return value

        loop = Loop(make, spec, data, index, work.runtime, work.out, work.report, evaluate)
        outcome = loop.train()
        found = judged(outcome.task, "val", "test")
        if distributed.rank() == 0:
            work.report(Heartbeat(SAVING))
            save_backbone(outcome.task.backbone, work.out)
            assert isinstance(outcome.task, Segmenter)
            drawn_masks.save(outcome.task, training.backbone, work.out / SEGMENTER)
            seen = outcome.task.context
            meta = {"classes": data.classes, "mean": seen.mean, "std": seen.std}
            (work.out / META).write_text(json.dumps(meta))
            (work.out / HISTORY).write_text(json.dumps(outcome.history))
            for name, own in found.items():
                write(work.out / OVERLAPS.format(name), data, part[name], own)
        return Result(outcome.result, score(params.objective, data, val, found["val"]))


def with_mask(data: Prepared, masks: Prepared, index: Index) -> Index:
    """Return those of the images at `index` that have a mask."""
    known = {*masks.names}
    return np.array([i for i in index if data.names[i] in known], np.int64)


def places(data: Prepared, masks: Prepared, index: Index) -> Index:
    """Return the row of the mask of each image at `index`."""
    known = {name: row for row, name in enumerate(masks.names)}
    return np.array([known[data.names[i]] for i in index], np.int64)


def check_parts(train: Index, val: Index) -> None:
    """Raise UserError unless there are masks to train on and to judge by."""
    for part, index in (("train", train), ("val", val)):
        if not len(index):
            raise UserError(
                f"data.masks: must have a mask of an image in {part}, and has none; try another "
                "seed, or more masks"
            )


def overlaps(
    task: Segmenter, data: Prepared, masks: Prepared, index: Index, runtime: Runtime
) -> NDArray[np.floating]:
    """Return Dice and intersection over union of each image at `index`: [n, 2], 0..1."""
    place = dict(zip(index.tolist(), places(data, masks, index), strict=True))
    side = task.context.image_size

    def judge(rows: Index) -> Tensor:
        own = pixels(masks, np.array([place[int(i)] for i in rows], np.int64), runtime).float()
        true = F.interpolate(own, (side, side), mode="bilinear", antialias=True)[:, 0] > HALF
        return overlap(task.inside(pixels(data, rows, runtime)) > 0.5, true)

    return over_rows(index, task, judge).numpy()


def overlap(said: Tensor, true: Tensor) -> Tensor:
    """Return Dice and intersection over union of masks bool [n, h, w]: [n, 2]; 1 if both are empty.

    Dice is twice the intersection over the sum of both areas.
    """
    both, either = (said & true).sum((1, 2)), (said | true).sum((1, 2))
    dice, iou = 2 * both / (both + either), both / either
    return torch.stack([dice, iou], 1).nan_to_num(1.0)


def score(objective: str, data: Prepared, index: Index, found: NDArray[np.floating]) -> Score:
    """Return the means over images, with intervals over patient groups."""
    groups = np.asarray(data.groups)[index]
    split = GroupBootstrap(data.labels[index], groups, len(data.classes))
    measured = zip(MEASURES.items(), 100 * split.means(found).T, strict=True)
    return Score(
        objective,
        {name: kind.measure(float(one[0]), *interval(one[1:])) for (name, kind), one in measured},
    )


def write(path: Path, data: Prepared, index: Index, found: NDArray[np.floating]) -> None:
    """Write a row an image: name, patient group, Dice, intersection over union."""
    columns: dict[str, Any] = {
        "image": [data.names[i] for i in index],
        "group": [data.groups[i] for i in index],
    }
    columns |= {name: found[:, k] for k, name in enumerate(MEASURES)}
    pq.write_table(pa.table(columns), path)
