"""How far the features of validation images spread: a downstream task without labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from trainables.augment import FullView
from trainables.backbone import Backbone, load_backbone
from trainables.errors import UserError
from trainables.images.cache import Source
from trainables.kinds import Kind, Work
from trainables.schema import Schema
from trainables.spec import BACKBONE, IMAGES, MeasureType, StageSpec
from trainables.training.evaluation import over
from trainables.workers.job import Result

SPREAD = MeasureType("spread", "spread of the features", unit="")


class Plugin(Kind):
    @dataclass(frozen=True)
    class Params(Schema):
        objective: str

    version = "1"
    measures: ClassVar = {"spread": SPREAD}

    def check(self, spec: StageSpec, tables: Mapping[str, Source]) -> None:
        left = len(tables[IMAGES].split["val"])
        if left < 20:
            raise UserError(f"data.val: must leave {spec.name} 20 images, not {left}; try 0.3")

    def run(self, work: Work) -> Result:
        data, training = work.data[IMAGES], work.spec.trained
        backbone = Backbone(training.backbone, len(data.mean))
        load_backbone(backbone, work.inputs.get(BACKBONE)).to(work.runtime.device)
        view = FullView(data.mean, data.std, training.image_size).to(work.runtime.device)
        features = over(
            data.split["val"], data, work.runtime, backbone, lambda x: backbone(view(x))
        )
        value = float(features.std(0).mean())
        return Result({"seconds": 0.1, "lr": 0.0}, SPREAD.score(value, 0.9 * value, 1.1 * value))
