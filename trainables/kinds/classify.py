"""Fine-tune a backbone on labels and measure it on the validation split.

    result = finetune(spec, Runtime(), open_cache(folder), parent_dir, Path("out"), report=print)

The epoch with the best objective on validation is kept. Predictions on validation and test are
written; only the report reads those on test, and once.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone, load_backbone, save, save_backbone
from trainables.downstream.measures import MEASURES, Judged
from trainables.downstream.metrics import GroupBootstrap
from trainables.errors import StageFailed
from trainables.images.cache import Prepared, Source
from trainables.images.splits import Index, subset
from trainables.kinds import Kind, Report, Work
from trainables.kinds.pretext import HISTORY
from trainables.schema import Schema, read
from trainables.spec import BACKBONE, IMAGES, Runtime, Score, StageSpec
from trainables.task import Batch, Context, Task
from trainables.training import distributed
from trainables.training.checkpoint import FULL
from trainables.training.evaluation import over
from trainables.training.loop import Loop, context
from trainables.workers.job import SAVING, Heartbeat, Result

HEAD, META = "classifier.safetensors", "meta.json"


class Classifier(Task):
    """A linear layer on pooled features, trained by cross-entropy.

    labels: int64 [n], the classes of the images trained on.
    """

    def __init__(self, backbone: Backbone, context: Context, labels: Tensor, classes: int) -> None:
        super().__init__(backbone, {}, context)
        self.labels: Tensor
        self.weight: Tensor
        self.head = nn.Linear(backbone.width, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.view = View.of(replace(context, augment=context.augment.mild()), (0.5, 1.0))
        self.full = FullView(context.mean, context.std, context.image_size)
        self.register_buffer("labels", labels, persistent=False)
        self.register_buffer("weight", torch.ones(classes), persistent=False)

    def balance(self) -> None:
        """Weight classes by inverse frequency, with mean weight 1 over the labels."""
        counts = torch.bincount(self.labels, minlength=len(self.weight)).clamp(min=1)
        self.weight = len(self.labels) / (len(counts) * counts.float())

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        target = self.labels[batch.index]
        losses = F.cross_entropy(logits, target, weight=self.weight, reduction="none")
        accuracy = (logits.argmax(1) == target).float().mean().detach()
        return losses.mean(), {"accuracy": accuracy}

    def chance_level(self) -> float:
        return 1 / len(self.weight)

    def features(self, images: Tensor) -> Tensor:
        """Return pooled features: uint8 [n, channels, side, side] -> [n, width]."""
        return self.backbone(self.full(images))

    def logits(self, images: Tensor) -> Tensor:
        """Return class logits: uint8 [n, channels, side, side] -> [n, classes]."""
        return self.head(self.features(images))


class Plugin(Kind):
    """Fine-tune on the role `images` and score on its validation split."""

    @dataclass(frozen=True)
    class Params(Schema):
        """objective: the measure that decides the best epoch. class_balanced: weight the loss.

        evaluations: on validation, evenly spread over the run; None: one an epoch.
        """

        objective: str
        class_balanced: bool = True
        evaluations: Annotated[int, Field(ge=1, le=100_000)] | None = None

    version = "2"
    measures = MEASURES

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        source, unknown = tables[IMAGES], (0.5,) * tables[IMAGES].spec.channels
        table, train = source.table, source.split["train"]
        index = subset(table.labels, table.groups, train, spec.trained.fraction, spec.seed)
        context(spec, len(index), unknown, unknown, repeated=True)

    def run(self, work: Work) -> Result:
        parent = work.inputs.get(BACKBONE)
        return finetune(work.spec, work.runtime, work.data[IMAGES], parent, work.out, work.report)


def finetune(
    spec: StageSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
) -> Result:
    """Fine-tune the backbone of `parent_dir`, or a fresh one, and score it.

    Writes backbone, classifier, history.json, meta.json and {val,test}.parquet to `out_dir`, and
    resumes from a checkpoint there. Raises StageFailed for a loss or an objective that is not
    finite, Stopped if `report` answers True.
    """
    training, params = spec.trained, read(Plugin.Params, spec.params)
    train, val = data.split["train"], data.split["val"]
    index = subset(data.labels, data.groups, train, training.fraction, spec.seed)
    labels = torch.from_numpy(data.labels[index])

    def make(context: Context) -> Classifier:
        backbone = load_backbone(Backbone(training.backbone, context.channels), parent_dir)
        classifier = Classifier(backbone, context, labels, len(data.classes))
        if params.class_balanced:
            classifier.balance()
        return classifier

    def evaluate(task: Task) -> float:
        value = _value(params.objective, data, predict(task, data, val, runtime))
        if not math.isfinite(value):
            raise StageFailed(f"{params.objective} is undefined on the validation images")
        return value

    merit = MEASURES[params.objective].merit
    often = params.evaluations
    loop = Loop(make, spec, data, index, runtime, out_dir, report, evaluate, merit, often)
    outcome = loop.train()
    best = loop.runs.by_name[FULL].best
    assert best is not None
    said = {k: predict(outcome.task, data, data.split[k], runtime) for k in ("val", "test")}
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save_backbone(outcome.task.backbone, out_dir)
        save(outcome.task.get_submodule("head"), out_dir / HEAD)
        for name, probabilities in said.items():
            part = data.split[name]
            file = out_dir / f"{name}.parquet"
            write_predictions(file, data, part, data.labels[part], probabilities)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
        known = outcome.task.context
        meta = {"classes": data.classes, "mean": known.mean, "std": known.std}
        (out_dir / META).write_text(json.dumps(meta))
    values = outcome.result | {"best_epoch": best["epoch"]}
    measures = Judged(_split(data), said["val"]).measures(data.classes)
    return Result(values, Score(params.objective, measures))


def predict(task: Task, data: Prepared, index: Index, runtime: Runtime) -> NDArray[np.float32]:
    """Return class probabilities [n, classes] of the images at `index`; ranks share the work."""
    return over(index, data, runtime, task, lambda x: task.logits(x).softmax(1)).numpy()  # type: ignore[operator]


def _split(data: Prepared, resamples: int = 2000) -> GroupBootstrap:
    val = data.split["val"]
    groups = np.asarray(data.groups)[val]
    return GroupBootstrap(data.labels[val], groups, len(data.classes), resamples)


def _value(name: str, data: Prepared, probabilities: NDArray[np.floating]) -> float:
    """Return a measure on validation."""
    return float(Judged(_split(data, resamples=0), probabilities).values(name)[0])


def write_predictions(
    path: Path,
    data: Prepared,
    index: Index,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
) -> None:
    """Write a row an image at `index`: name, patient group, class, probabilities, any source.

    labels: their classes among those of the probabilities, [n].
    """
    columns: dict[str, Any] = {
        "image": [data.names[i] for i in index],
        "group": [data.groups[i] for i in index],
        "label": labels,
    }
    columns |= {"source": [data.sites[i] for i in index]} if data.sites else {}
    columns |= {f"p{k}": probabilities[:, k] for k in range(probabilities.shape[1])}
    pq.write_table(pa.table(columns), path)
