"""Fine-tune a backbone on labels and measure it on the validation split.

    result = finetune(spec, Runtime(), open_cache(folder), parent_dir, Path("out"), report=print)

The epoch with the best objective on validation is kept. Predictions on validation and test are
written; only the report reads those on test, and once.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from trainables.augment import FullView, View
from trainables.backbone import Backbone, fit_statistics
from trainables.downstream import probes
from trainables.downstream.measures import MEASURES, Judged
from trainables.downstream.metrics import GroupBootstrap
from trainables.errors import StageFailed, UserError
from trainables.images.cache import Prepared
from trainables.images.splits import Index, subset
from trainables.spec import DownstreamSpec, Runtime, Score
from trainables.stage import BACKBONE, HISTORY, load_backbone, save
from trainables.task import Batch, Context, Task
from trainables.training import distributed
from trainables.training.checkpoint import FULL
from trainables.training.loop import Loop, Report, evaluating
from trainables.workers.job import SAVING, Heartbeat, Result

EVALUATION_BATCH = 256
HEAD, META = "classifier.safetensors", "meta.json"


class Plugin(Task):
    """A linear layer on pooled features, trained by cross-entropy.

    labels: int64 [n], the classes of the images trained on.
    """

    version = "2"

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


def finetune(
    spec: DownstreamSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
    weights: Path | None = None,
) -> Result:
    """Fine-tune a backbone and score it: that of `weights`, else of `parent_dir`, else a fresh one.

    Writes backbone, classifier, history.json, meta.json and {val,test}.parquet to `out_dir`, and
    resumes from a checkpoint there. Raises UserError for weights that don't fit, StageFailed for a
    loss or an objective that is not finite, Stopped if `report` answers True.
    """
    train, val = data.split["train"], data.split["val"]
    index = subset(data.labels, data.groups, train, spec.label_fraction, spec.seed)
    labels = torch.from_numpy(data.labels[index])

    def make(context: Context) -> Plugin:
        backbone = Backbone(spec.training.backbone, context.channels)
        if weights is not None:
            backbone.load_state_dict(fitting_weights(backbone, weights))
        else:
            load_backbone(backbone, parent_dir)
        classifier = Plugin(backbone, context, labels, len(data.classes))
        if spec.class_balanced:
            classifier.balance()
        return classifier

    def evaluate(task: Task) -> float:
        value = _value(spec.objective, data, predict(task, data, val, runtime))
        if not math.isfinite(value):
            raise StageFailed(f"{spec.objective} is undefined on the validation images")
        return value

    merit = MEASURES[spec.objective].merit
    loop = Loop(make, spec, data, index, runtime, out_dir, report, evaluate, merit)
    outcome = loop.train()
    best = loop.runs.by_name[FULL].best
    assert best is not None
    said = {k: predict(outcome.task, data, data.split[k], runtime) for k in ("val", "test")}
    probed = {}
    if spec.probes:
        report(Heartbeat("probes"))
        probed = _probe(make(outcome.task.context), data, index, runtime)
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save(outcome.task.backbone, out_dir / BACKBONE)
        save(outcome.task.get_submodule("head"), out_dir / HEAD)
        for name, probabilities in said.items():
            _write_predictions(out_dir / f"{name}.parquet", data, data.split[name], probabilities)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
        known = outcome.task.context
        meta = {"classes": data.classes, "mean": known.mean, "std": known.std}
        (out_dir / META).write_text(json.dumps(meta))
    values = outcome.result | probed | {"best_epoch": best["epoch"]}
    measures = Judged(_split(data), said["val"]).measures(data.classes)
    return Result(values, Score(spec.objective, measures))


def fitting_weights(backbone: Backbone, path: Path) -> dict[str, Tensor]:
    """Read a torchvision or timm ResNet's file, without its `fc`; UserError if it doesn't fit."""
    state = {key: value for key, value in _tensors(path).items() if not key.startswith("fc.")}
    own = backbone.state_dict()
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    if wrong or len(state) != len(own):
        raise UserError(
            f"baselines.imagenet={path}: must fit profile.backbone ({len(wrong)} of {len(own)} "
            f"tensors differ, first {(wrong or sorted(set(state) - set(own)))[0]}); try the "
            "weights of that ResNet, and data.channels=3"
        )
    return state


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost any type for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"baselines.imagenet={path}: must be a whole .safetensors or weights-only .pth file "
            f"({reason or type(error).__name__}); try fetching it again"
        ) from None
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise UserError(
            f"baselines.imagenet={path}: must hold named tensors alone; try saving a state_dict()"
        )
    return state


def predict(task: Task, data: Prepared, index: Index, runtime: Runtime) -> NDArray[np.float32]:
    """Return class probabilities [n, classes] of the images at `index`; ranks share the work."""
    return _over(index, data, runtime, task, lambda x: task.logits(x).softmax(1)).numpy()  # type: ignore[operator]


def _over(
    index: Index, data: Prepared, runtime: Runtime, task: Task, apply: Callable[[Tensor], Tensor]
) -> Tensor:
    """Apply a function to the images at `index` in batches; every rank returns all results."""
    world, rank = distributed.world_size(), distributed.rank()
    local = -(-len(index) // world)
    padded = np.resize(index, local * world)[rank * local : (rank + 1) * local]
    parts = []
    with evaluating(task):
        for first in range(0, local, EVALUATION_BATCH):
            part = padded[first : first + EVALUATION_BATCH]
            parts.append(apply(_pixels(data, part, runtime)))
        return distributed.all_gather(torch.cat(parts))[: len(index)].float().cpu()


def _pixels(data: Prepared, index: Index, runtime: Runtime) -> Tensor:
    return torch.from_numpy(data.images[index]).permute(0, 3, 1, 2).to(runtime.device)


def _split(data: Prepared, resamples: int = 2000) -> GroupBootstrap:
    val = data.split["val"]
    groups = np.asarray(data.groups)[val]
    return GroupBootstrap(data.labels[val], groups, len(data.classes), resamples)


def _value(name: str, data: Prepared, probabilities: NDArray[np.floating]) -> float:
    """Return a measure on validation."""
    return float(Judged(_split(data, resamples=0), probabilities).values(name)[0])


def _write_predictions(
    path: Path, data: Prepared, index: Index, probabilities: NDArray[np.float32]
) -> None:
    columns = {
        "image": [data.names[i] for i in index],
        "group": [data.groups[i] for i in index],
        "label": data.labels[index],
    }
    columns |= {f"p{k}": probabilities[:, k] for k in range(probabilities.shape[1])}
    pq.write_table(pa.table(columns), path)


def _probe(fresh: Plugin, data: Prepared, index: Index, runtime: Runtime) -> dict[str, float]:
    """Return balanced accuracies, %, of kNN and a linear classifier before fine-tuning.

    BatchNorm statistics are refitted first; fine-tuning would adapt them anyway.
    """
    fresh.to(runtime.device)
    order = np.random.default_rng(0).permutation(index)
    parts = np.array_split(order, max(1, len(order) // EVALUATION_BATCH))
    fit_statistics(fresh, fresh.features, (_pixels(data, part, runtime) for part in parts))
    val, classes = data.split["val"], len(data.classes)
    train_features = _over(index, data, runtime, fresh, fresh.features)
    val_features = _over(val, data, runtime, fresh, fresh.features)
    labels = data.labels[index]
    votes = {
        "knn": probes.knn(train_features, labels, val_features, classes),
        "linear": probes.linear(train_features, labels, val_features),
    }
    certain = np.eye(classes)
    return {name: _value("balanced_accuracy", data, certain[v]) for name, v in votes.items()}
