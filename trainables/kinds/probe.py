"""Probes of a frozen backbone, cross-validated on the labelled training images.

They cost a pass over these images and see neither validation nor test images: a policy knows
them before any fine-tuning. BatchNorm statistics are refitted: fine-tuning would adapt them anyway.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainables.augment import FullView
from trainables.backbone import Backbone, fit_statistics, load_backbone
from trainables.downstream import probes
from trainables.downstream.measures import Judged
from trainables.downstream.metrics import GroupBootstrap, interval
from trainables.images.cache import Prepared
from trainables.images.splits import Index, subset
from trainables.kinds import Kind, Work
from trainables.schema import Schema, read
from trainables.spec import BACKBONE, IMAGES, MeasureType, Score
from trainables.training.evaluation import BATCH, over, pixels
from trainables.workers.job import Heartbeat, Result

RESAMPLES = 200  # there are more images than on validation, and no decision hangs on it
JUDGED_BY = "balanced_accuracy"
MEASURES = {
    name: MeasureType(name, f"balanced accuracy of a {kind} on frozen features")
    for name, kind in (("linear", "linear classifier"), ("knn", "nearest-neighbour vote"))
}


class Plugin(Kind):
    """Linear and nearest-neighbour probes of the role `backbone` on the role `images`.

    No measures if there is only one patient, or if features are not finite.
    """

    @dataclass(frozen=True)
    class Params(Schema):
        """fraction: of the labels. mean, std: of the modality; None: of the images."""

        backbone: str
        image_size: int
        fraction: float
        mean: list[float] | None = None
        std: list[float] | None = None

    version = "1"
    measures = MEASURES

    def run(self, work: Work) -> Result:
        params, data = read(self.Params, work.spec.params), work.data[IMAGES]
        work.report(Heartbeat("probing"))
        train = data.split["train"]
        index = subset(data.labels, data.groups, train, params.fraction, work.spec.seed)
        features = _features(params, work, data, index)
        labels, groups = data.labels[index], np.asarray(data.groups)[index]
        if len(set(groups)) < 2 or not features.isfinite().all():
            return Result({}, Score("linear", {}))
        classes = len(data.classes)
        answers = probes.cross_validated(features, labels, groups, classes, work.spec.seed)
        split, measures = GroupBootstrap(labels, groups, classes, RESAMPLES), {}
        for name, kind in MEASURES.items():
            value, *resampled = Judged(split, np.eye(classes)[answers[name]]).values(JUDGED_BY)
            measures[name] = kind.measure(float(value), *interval(np.array(resampled)))
        return Result({}, Score("linear", measures))


def _features(params: Plugin.Params, work: Work, data: Prepared, index: Index) -> Tensor:
    """Return the frozen features of full views: float32 [n, width], the same on every rank."""
    torch.manual_seed(work.spec.seed)
    backbone = Backbone(params.backbone, len(data.mean))
    load_backbone(backbone, work.inputs.get(BACKBONE))
    mean, std = tuple(params.mean or data.mean), tuple(params.std or data.std)
    encode = nn.Sequential(FullView(mean, std, params.image_size), backbone)
    encode.to(work.runtime.device)
    order = np.random.default_rng(0).permutation(index)
    parts = np.array_split(order, max(1, len(order) // BATCH))
    fit_statistics(encode, encode, (pixels(data, part, work.runtime) for part in parts))
    return over(index, data, work.runtime, encode, encode)
