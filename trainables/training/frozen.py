"""Probe the backbone of a task in training: what its frozen features tell of labelled images.

    probe = FrozenProbe.of(spec, labelled, runtime)
    probe(task)         # {"macro_auroc": 81.9, "knn": 78.2, "rankme": 31.4}

The images are a fixed subset of the labelled training images, cross-validated by patient group, so
neither validation nor test images are seen. A copy is probed: training goes on as if it were not.
"""

import copy
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from trainables.augment import FullView
from trainables.data import Table
from trainables.downstream import probes
from trainables.downstream.measures import judge
from trainables.downstream.metrics import GroupBootstrap
from trainables.errors import UserError
from trainables.images.cache import Prepared
from trainables.images.splits import Index, subset
from trainables.spec import Runtime, StageSpec
from trainables.task import Task
from trainables.training import distributed
from trainables.training.evaluation import fit, over
from trainables.training.lengths import PROBED

MACRO_AUROC, KNN, RANKME = "macro_auroc", "knn", "rankme"  # in the rows of a history
COLLAPSED = 0.25  # a rate is out if RankMe falls below this fraction of the start's
Probed = dict[str, float]


@dataclass(frozen=True)
class FrozenProbe:
    """Macro AUROC of a linear and a nearest-neighbour probe in %, and RankMe."""

    data: Prepared
    index: Index  # of the labelled images
    runtime: Runtime
    seed: int

    @classmethod
    def of(cls, spec: StageSpec, data: Prepared, runtime: Runtime) -> Self:
        """Return the probe of a stage. data: the images of the role `images`."""
        return cls(data, chosen(spec, data, data.split["train"]), runtime, spec.seed)

    def __call__(self, task: Task) -> Probed:
        """Probe the task's backbone; NaN where features are not finite. Every rank has rank 0's."""
        known = task.context
        backbone = copy.deepcopy(task.backbone)
        encode = nn.Sequential(FullView(known.mean, known.std, known.image_size), backbone)
        encode.to(self.runtime.device)
        fit(encode, encode, self.data, self.index, self.runtime)
        features = over(self.index, self.data, self.runtime, encode, encode)
        values = self._values(features) if distributed.rank() == 0 else [math.nan] * 3
        told = torch.tensor(values, dtype=torch.float64, device=self.runtime.device)
        found = distributed.all_gather(told)[:3].tolist()
        return dict(zip((MACRO_AUROC, KNN, RANKME), found, strict=True))

    def _values(self, features: Tensor) -> list[float]:
        if not features.isfinite().all():
            return [math.nan] * 3
        data, classes = self.data, len(self.data.classes)
        labels, groups = data.labels[self.index], np.asarray(data.groups)[self.index]
        answers = probes.cross_validated(features, labels, groups, classes, self.seed)
        split = GroupBootstrap(labels, groups, classes, 0)
        judged = [judge(split, answers[kind]).values(MACRO_AUROC)[0] for kind in ("linear", "knn")]
        return [*map(float, judged), rankme(features)]


def chosen(spec: StageSpec, table: Table, train: Index) -> Index:
    """Return the images to probe with; UserError if none of them can be cross-validated.

    As many labels as fine-tuning has, at most PROBED; twice, four times as many and so on while no
    class has two patients. train: the labelled training images.
    """
    fraction, groups = min(spec.trained.fraction, PROBED / len(train)), np.asarray(table.groups)

    def drawn() -> tuple[Index, int]:
        index = subset(table.labels, table.groups, train, fraction, spec.seed)
        return index, probes.possible_folds(table.labels[index], groups[index])

    index, folds = drawn()
    while folds < 2 and fraction < 1:
        fraction = min(2 * fraction, 1)
        index, folds = drawn()
    if folds < 2:
        raise UserError(
            f"lr_judge=probe: must have labelled training images of two patients with one class, "
            f"and has {len(train)} without; try lr_judge=pretext profile.curve=0"
        )
    return index


def rankme(features: Tensor) -> float:
    """Return how many directions features [n, width] use (Garrido et al., 2023); 1: collapsed."""
    values = torch.linalg.svdvals(features.double())
    if not values.sum():
        return 1.0
    parts = values / values.sum() + 1e-7
    return float((-(parts * parts.log()).sum()).exp())


def collapse(rows: list[Probed]) -> str:
    """Return why the last of these probes shows a collapse since the first, or ""."""
    first, last = rows[0][RANKME], rows[-1][RANKME]
    if not last < COLLAPSED * first:
        return ""
    return f"collapsed: RankMe {last:.1f} of {first:.1f} at the start"
