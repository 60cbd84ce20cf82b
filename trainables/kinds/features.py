"""Frozen features from elsewhere, judged as the probes and the fine-tuning of a start are.

They come as a Parquet file at the place FEATURES (see `downstream.vectors`, whose `check` is for
when the plan is made). A space names them as `baselines: {features: {panderm: FILE}}`; there are
two stages of each, named after it, without training and without inputs:

    StageSpec(FEATURES, "panderm", params, version(KINDS, FEATURES), None, {}, {IMAGES: ...}, seed)
    probe: {"sha256": ..., "fraction": 0.3, "on": "train"}, or {..., "on": "val", "objective": ...}
    score: {"sha256": ..., "fraction": 0.3, "on": None, "objective": "balanced_accuracy"}

The probe has the measures of the kind `probe`. The score fits its linear classifier to the labelled
training images and has the measures and files of the kind `classify`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from trainables.downstream import probes, vectors
from trainables.downstream.measures import MEASURES
from trainables.durable import check_same
from trainables.images.cache import Prepared, Source
from trainables.kinds import Kind, Work
from trainables.kinds.classify import check_objective, score, write_answers
from trainables.kinds.probe import Judged, labelled, probed
from trainables.schema import read
from trainables.spec import FEATURES, IMAGES, StageSpec
from trainables.training import distributed
from trainables.workers.job import SAVING, Heartbeat, Result


class Plugin(Kind):
    """Judge the vectors of the file at the place `features` on the role `images`."""

    @dataclass(frozen=True, kw_only=True)
    class Params(Judged):
        """sha256: of the file, 16 digits. on: None for the score, on validation and test."""

        sha256: str
        on: Literal["train", "val"] | None = None  # type: ignore[assignment]

    version = "2"
    measures = MEASURES

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        params = read(self.Params, spec.params)
        if params.on is None:
            check_objective(params.objective, tables[IMAGES].table.many)

    def run(self, work: Work) -> Result:
        params, data, name = read(self.Params, work.spec.params), work.data[IMAGES], work.spec.name
        file = work.places[FEATURES]
        work.report(Heartbeat("probing"))
        features = torch.from_numpy(vectors.read(file, name, data.names))
        check_same(f"baselines.features.{name}", file, params.sha256)
        if params.on is None:
            return _scored(params, work, data, features)
        return probed(params, data, work.spec.seed, lambda *parts: [features[p] for p in parts])


def _scored(params: Plugin.Params, work: Work, data: Prepared, features: Tensor) -> Result:
    """Fit the linear classifier to the labelled images; judge it on validation, write test too."""
    index = labelled(data, params.fraction, work.spec.seed)
    parts = {name: data.split[name] for name in ("val", "test")}
    asked = features[np.concatenate([*parts.values()])]
    learnt = features[index], data.labels[index], asked, len(data.classes)
    found = probes.answered(*learnt, names=["linear"])["linear"]
    said = dict(zip(parts, np.split(found, [len(parts["val"])]), strict=True))
    if distributed.rank() == 0:
        work.report(Heartbeat(SAVING))
        write_answers(work.out, data, said)
    return Result({}, score(params.objective, data, said["val"]))
