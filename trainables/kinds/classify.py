"""Fine-tune a backbone on labels and measure it on the validation split.

    result = finetune(spec, Runtime(), open_cache(folder), parent_dir, Path("out"), report=print)

The last step is scored, as the best on validation would be the luckiest there. Before every
evaluation BatchNorm's statistics are fitted to training images. Predictions on validation and test
are written; only the report reads those on test, and once.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from trainables.backbone import save, save_backbone, trained_backbone
from trainables.downstream.attention import ATTENTION, attend
from trainables.downstream.classifier import Classifier, Recipe, made
from trainables.downstream.measures import MANY, MEASURES, judge
from trainables.downstream.metrics import GroupBootstrap
from trainables.errors import StageFailed, UserError
from trainables.images.cache import Prepared, Source
from trainables.images.splits import Index, subset
from trainables.kinds import Kind, Report, Work
from trainables.kinds.pretext import HISTORY
from trainables.schema import read
from trainables.spec import BACKBONE, IMAGES, MASKS, Runtime, Score, StageSpec
from trainables.task import Context, PerChannel, Task
from trainables.training import distributed
from trainables.training.evaluation import fit, over
from trainables.training.loop import Loop, context
from trainables.workers.job import SAVING, Heartbeat, Result

HEAD, META = "classifier.safetensors", "meta.json"


class Plugin(Kind):
    """Fine-tune on the role `images` and score on its validation split.

    Attention is measured inside the role `masks`, see `downstream.attention`; it is no objective.
    """

    @dataclass(frozen=True, kw_only=True)
    class Params(Recipe):
        """objective: the measure that is told on the way and decides the learning rate."""

        objective: str

    version = "8"
    measures: ClassVar = {**MEASURES, **ATTENTION}
    only_told: ClassVar = frozenset(ATTENTION)
    shown: ClassVar = (
        "balanced_accuracy", "accuracy", "macro_auroc", "ail", "region_area", "ail_ratio",
    )  # fmt: skip

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        source, unknown = tables[IMAGES], (0.5,) * tables[IMAGES].spec.channels
        check_objective(read(self.Params, spec.params).objective, source.table.many)
        table, train = source.table, source.split["train"]
        index = subset(table.labels, table.groups, train, spec.trained.fraction, spec.seed)
        context(spec, len(index), unknown, unknown, repeated=True)

    def run(self, work: Work) -> Result:
        parent, data, masks = work.inputs.get(BACKBONE), work.data[IMAGES], work.data.get(MASKS)
        return finetune(work.spec, work.runtime, data, parent, work.out, work.report, masks)


def finetune(
    spec: StageSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
    masks: Prepared | None = None,
) -> Result:
    """Fine-tune the backbone of `parent_dir`, or a fresh one, and score it.

    Writes backbone, classifier, history.json, meta.json, attention.npz, {val,test}.parquet, and
    resumes from a checkpoint there. Raises StageFailed for a loss or an objective that is not
    finite, Stopped if `report` answers True.
    """
    training, params = spec.trained, read(Plugin.Params, spec.params)
    train, val = data.split["train"], data.split["val"]
    index = subset(data.labels, data.groups, train, training.fraction, spec.seed)
    labels = torch.from_numpy(data.labels[index])

    def make(context: Context) -> Classifier:
        backbone = trained_backbone(training, context.channels, parent_dir)
        return made(backbone, context, labels, len(data.classes), params)

    def evaluate(task: Task) -> float:
        assert isinstance(task, Classifier), type(task)
        fit(task, task.features, data, index, runtime)
        value = _value(params.objective, data, predict(task, data, val, runtime))
        if not math.isfinite(value):
            raise StageFailed(f"{params.objective} is undefined on the validation images")
        return value

    merit = MEASURES[params.objective].merit
    loop = Loop(make, spec, data, index, runtime, out_dir, report, evaluate, merit)
    outcome = loop.train()
    said = {k: predict(outcome.task, data, data.split[k], runtime) for k in ("val", "test")}
    assert isinstance(outcome.task, Classifier)
    looked = attend(outcome.task, data, masks, training.backbone, spec.seed, runtime)
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save_backbone(outcome.task.backbone, out_dir)
        save(outcome.task.get_submodule("head"), out_dir / HEAD)
        known = outcome.task.context
        write_answers(out_dir, data, said, mean=known.mean, std=known.std)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
        looked.write(out_dir)
    found = score(params.objective, data, said["val"])
    found = replace(found, measures={**found.measures, **looked.measures(data)})
    return Result(outcome.result, found)


def check_objective(name: str, many: bool) -> None:
    """Raise UserError for a measure that answers can't be judged by: some need one label each."""
    known = MANY if many else MEASURES
    if name not in known:
        when = " with data.params.labels=many" if many else ""
        raise UserError(
            f"downstream.objective={name}: must be one of {', '.join(known)}{when}; try "
            f"downstream.objective={next(iter(known))}"
        )


def predict(task: Task, data: Prepared, index: Index, runtime: Runtime) -> NDArray[np.float32]:
    """Return class probabilities [n, classes] of the images at `index`; ranks share the work."""
    assert isinstance(task, Classifier), type(task)
    return over(index, data, runtime, task, task.probabilities).numpy()


def score(objective: str, data: Prepared, probabilities: NDArray[np.floating]) -> Score:
    """Return all measures of the probabilities [n, classes] of the validation images."""
    return Score(objective, judge(_split(data), probabilities).measures(data.classes))


def _split(data: Prepared, resamples: int = 2000) -> GroupBootstrap:
    val = data.split["val"]
    groups = np.asarray(data.groups)[val]
    return GroupBootstrap(data.labels[val], groups, len(data.classes), resamples)


def _value(name: str, data: Prepared, probabilities: NDArray[np.floating]) -> float:
    """Return a measure on validation."""
    return float(judge(_split(data, resamples=0), probabilities).values(name)[0])


def write_answers(
    out: Path, data: Prepared, said: Mapping[str, NDArray[np.floating]], **known: PerChannel
) -> None:
    """Write the probabilities of each part's images, and `meta.json`, to the folder of a score.

    known: what else `meta.json` has.
    """
    for name, probabilities in said.items():
        part = data.split[name]
        write_predictions(out / f"{name}.parquet", data, part, data.labels[part], probabilities)
    meta: dict[str, Any] = {"classes": data.classes, **known}
    meta |= {"labels": "many"} if data.many else {}
    (out / META).write_text(json.dumps(meta))


def write_predictions(
    path: Path,
    data: Prepared,
    index: Index,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
) -> None:
    """Write a row an image at `index`: name, patient group, class, probabilities, any source.

    labels: their classes among those of the probabilities, [n]. Several labels an image, [n,
    classes] as in `Table`, are the columns y0, y1, ... in place of `label`.
    """
    columns: dict[str, Any] = {
        "image": [data.names[i] for i in index],
        "group": [data.groups[i] for i in index],
    }
    columns |= (
        {f"y{k}": own for k, own in enumerate(labels.T)} if labels.ndim == 2 else {"label": labels}
    )
    columns |= {"source": [data.sites[i] for i in index]} if data.sites else {}
    columns |= {f"p{k}": probabilities[:, k] for k in range(probabilities.shape[1])}
    pq.write_table(pa.table(columns), path)
