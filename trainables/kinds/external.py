"""Score a finished fine-tuning on a data set from elsewhere: never used to choose, seen once.

All images of the set are for testing. Its classes are mapped onto those of the fine-tuning; a class
that it lacks can still be answered, which is then wrong; of several labels an image, it is not
measured. Writes test.parquet and meta.json as the
fine-tuning does, with the fine-tuning's classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from trainables.augment import FullView
from trainables.backbone import Backbone, load_backbone
from trainables.data import Table
from trainables.data._many import IGNORED
from trainables.downstream.classifier import answered
from trainables.downstream.measures import MEASURES, judge
from trainables.downstream.metrics import GroupBootstrap
from trainables.errors import UserError
from trainables.kinds import Kind, Work
from trainables.kinds.classify import HEAD, META, write_predictions
from trainables.plugins import near
from trainables.schema import Schema, read
from trainables.spec import EXTERNAL, SCORE, Score
from trainables.training import distributed
from trainables.training.evaluation import over
from trainables.workers.job import SAVING, Heartbeat, Result


class Plugin(Kind):
    """Judge the classifier of the role `score` on all images of the role `external`."""

    @dataclass(frozen=True)
    class Params(Schema):
        """objective: see `classify`. classes: the set's names of classes -> those trained on."""

        objective: str
        backbone: str
        image_size: int
        classes: dict[str, str] = field(default_factory=dict)

    version = "1"
    measures = MEASURES

    def run(self, work: Work) -> Result:
        params, data = read(self.Params, work.spec.params), work.data[EXTERNAL]
        finished = work.inputs[SCORE]
        meta = json.loads((finished / META).read_text())
        many = meta.get("labels") == "many"
        check_labels(data.many, many, work.spec.name)
        place = positions(data.classes, meta["classes"], params.classes, work.spec.name)
        work.report(Heartbeat("scoring"))
        index, labels = np.arange(len(data.labels)), placed(data, place, len(meta["classes"]))
        network = _network(params, finished, meta).to(work.runtime.device)
        said = over(index, data, work.runtime, network, lambda x: answered(network(x), many))
        if distributed.rank() == 0:
            work.report(Heartbeat(SAVING))
            write_predictions(work.out / "test.parquet", data, index, labels, said.numpy())
            (work.out / META).write_text(json.dumps(meta))
        split = GroupBootstrap(labels, np.asarray(data.groups), len(meta["classes"]))
        return Result(
            {}, Score(params.objective, judge(split, said.numpy()).measures(meta["classes"]))
        )


def check_labels(theirs: bool, ours: bool, name: str) -> None:
    """Raise UserError unless both or neither have several labels an image."""
    if theirs != ours:
        given, wanted = ("many" if several else "null" for several in (theirs, ours))
        raise UserError(
            f"external.{name}.params.labels={given}: must be {wanted}, as in data.params.labels; "
            f"try external.{name}.params.labels={wanted}"
        )


def placed(data: Table, place: Sequence[int], classes: int) -> NDArray[np.int64]:
    """Return their labels among our classes. place: ours of each of theirs; two may be merged."""
    if not data.many:
        return np.array(place)[data.labels]
    found = np.full((len(data.labels), classes), IGNORED)
    for ours in set(place):
        own = data.labels[:, [theirs for theirs, at in enumerate(place) if at == ours]]
        unsure = np.where((own == IGNORED).any(1), IGNORED, 0)
        found[:, ours] = np.where((own == 1).any(1), 1, unsure)
    return found


def positions(
    theirs: Sequence[str], ours: Sequence[str], mapped: Mapping[str, str], name: str
) -> list[int]:
    """Return the place among `ours` of each of their classes; UserError if one has none.

    mapped: the names that differ. name: of the external set.
    """
    where = f"external.{name}.classes"
    for given in mapped:
        if given not in theirs:
            raise UserError(
                f"{where}.{given}={mapped[given]}: must rename a class of that data set "
                f"({', '.join(theirs)}); try {near(given, theirs) or 'without it'}"
            )
    known = {label: place for place, label in enumerate(ours)}
    for label in theirs:
        if (meant := mapped.get(label, label)) not in known:
            suggestion = near(meant, ours) or ours[0]
            raise UserError(
                f"{where}.{label}={meant}: must be one of {', '.join(ours)}, the classes trained "
                f"on; try external.{name}.classes.{label}={suggestion}, or "
                f"+external.{name}.params.exclude_classes=[{label}]"
            )
    return [known[mapped.get(label, label)] for label in theirs]


def _network(params: Plugin.Params, finished: Path, meta: Mapping[str, list[float]]) -> nn.Module:
    """Return the fine-tuned classifier: uint8 [n, channels, side, side] -> logits."""
    mean, std = tuple(meta["mean"]), tuple(meta["std"])
    backbone = load_backbone(Backbone(params.backbone, len(mean)), finished)
    head = nn.Linear(backbone.width, len(meta["classes"]))
    head.load_state_dict(load_file(finished / HEAD))
    return nn.Sequential(FullView(mean, std, params.image_size), backbone, head)
