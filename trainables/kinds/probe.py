"""Probes of a frozen backbone, cross-validated on the labelled training images.

They cost a pass over at most MOST images and see neither validation nor test images: a policy knows
them before any fine-tuning. BatchNorm statistics are refitted: fine-tuning would adapt them anyway.
For a label curve, where too few labels are left to cross-validate, they are judged on validation
as the fine-tuned network is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.augment import FullView
from trainables.backbone import Backbone, load_backbone
from trainables.downstream import measures as downstream
from trainables.downstream import probes
from trainables.downstream.measures import MANY, judge
from trainables.downstream.metrics import GroupBootstrap, interval
from trainables.images.cache import Prepared
from trainables.images.splits import Index, subset
from trainables.kinds import Kind, Work
from trainables.schema import Schema, read
from trainables.spec import BACKBONE, IMAGES, MeasureType, Score
from trainables.training.evaluation import fit, over
from trainables.workers.job import Heartbeat, Result

Floats = NDArray[np.floating]
MOST = 20_000  # labelled images that probes learn from: neighbours of more take hours
RESAMPLES = 200  # there are more images than on validation, and no decision hangs on it
JUDGED_BY = "balanced_accuracy"
MEASURES = {
    name: MeasureType(name, f"balanced accuracy of a {kind} on frozen features")
    for name, kind in (("linear", "linear classifier"), ("knn", "nearest-neighbour vote"))
}


@dataclass(frozen=True, kw_only=True)
class Judged(Schema):
    """What probes of any features learn from and are judged on.

    fraction: of the labels. on: the images judged on; `train`: cross-validated. objective: the
    measure that is told.
    """

    fraction: float
    on: Literal["train", "val"] = "train"
    objective: str = JUDGED_BY


class Plugin(Kind):
    """Linear and nearest-neighbour probes of the role `backbone` on the role `images`.

    No measures if there are too few patients or images, or if features are not finite.
    """

    @dataclass(frozen=True, kw_only=True)
    class Params(Judged):
        """mean, std: of the modality; None: of the images."""

        backbone: str
        image_size: int
        mean: list[float] | None = None
        std: list[float] | None = None

    version = "2"
    measures = MEASURES

    def run(self, work: Work) -> Result:
        params, data = read(self.Params, work.spec.params), work.data[IMAGES]
        work.report(Heartbeat("probing"))
        return probed(params, data, work.spec.seed, partial(_features, params, work, data))


Encode = Callable[[Index, Index], list[Tensor]]


def labelled(data: Prepared, fraction: float, seed: int) -> Index:
    """Return the training images whose labels may be seen."""
    return subset(data.labels, data.groups, data.split["train"], fraction, seed)


def probed(params: Judged, data: Prepared, seed: int, encode: Encode) -> Result:
    """Judge both probes. encode: returns the features of two lists of images, once if they are one.

    No measures as the kind has none.
    """
    index = labelled(data, min(params.fraction, MOST / len(data.split["train"])), seed)
    judged = data.split["val"] if params.on == "val" else index
    features, *asked = encode(index, judged)
    labels, groups = data.labels[index], np.asarray(data.groups)[index]
    if not all(some.isfinite().all() for some in (features, *asked)):
        return Result({}, Score("linear", {}))
    if params.on == "val":
        answers = probes.answered(features, labels, asked[0], len(data.classes))
    elif probes.possible_folds(labels, groups) < 2:
        return Result({}, Score("linear", {}))
    else:
        answers = probes.cross_validated(features, labels, groups, len(data.classes), seed)
    return Result({}, _score(params, data, judged, answers))


def _score(params: Judged, data: Prepared, judged: Index, answers: Mapping[str, Floats]) -> Score:
    """Judge the answers: probabilities [n, classes] of the images at `judged`, by probe."""
    kinds = MANY if data.many else downstream.MEASURES
    usual = next(iter(MANY)) if data.many else JUDGED_BY
    known = params.objective if params.objective in kinds else usual
    groups = np.asarray(data.groups)[judged]
    split = GroupBootstrap(data.labels[judged], groups, len(data.classes), RESAMPLES)
    measures = {}
    for name in MEASURES:
        value, *resampled = judge(split, answers[name]).values(known)
        measures[name] = kinds[known].measure(float(value), *interval(np.array(resampled)))
    return Score("linear", measures)


def _features(
    params: Plugin.Params, work: Work, data: Prepared, index: Index, judged: Index
) -> list[Tensor]:
    """Return the frozen features of full views: float32 [n, width], the same on every rank.

    First those at `index`, some of which give BatchNorm its statistics, then those at `judged`.
    """
    torch.manual_seed(work.spec.seed)
    backbone = Backbone(params.backbone, len(data.mean))
    load_backbone(backbone, work.inputs.get(BACKBONE))
    mean, std = tuple(params.mean or data.mean), tuple(params.std or data.std)
    encode = nn.Sequential(FullView(mean, std, params.image_size), backbone)
    encode.to(work.runtime.device)
    fit(encode, encode, data, index, work.runtime)
    wanted = [index] if judged is index else [index, judged]
    return [over(part, data, work.runtime, encode, encode) for part in wanted]
