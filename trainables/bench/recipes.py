"""The stages that are measured, as a search trains them: read from the YAML files in `spaces/`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from trainables.architectures import precision
from trainables.errors import UserError
from trainables.images.cache import Prepared
from trainables.kinds.pretext import TASKS
from trainables.modality import augment_of
from trainables.plugins import unknown, version
from trainables.spec import POOL, PRETEXT, DataSpec, KnownData, LRPolicy, StageSpec, Training

SPACES = Path(__file__).resolve().parents[2] / "spaces"
STEPS = 10**9  # of the schedule: no measurement reaches its end
TASK: dict[str, Any] = {  # what a task's file may leave out, as in a space
    "params": {}, "lr_range": [0.03, 0.1, 0.3], "lr_range_later": None, "optimizer": "sgd",
    "weight_decay": 1e-4, "steps": None,
}  # fmt: skip
GENTLE = 1e-3  # times the lowest learning rate: repeated views must not break the network


@dataclass(frozen=True)
class Recipes:
    """The stages of one profile on one device, for images of one modality."""

    profile: str
    device: torch.device
    modality: str = "dermoscopy"

    @cached_property
    def sizes(self) -> Any:
        """Return the profile over `cpu`, as in a space; the device decides the precision `auto`."""
        given = read("profile", "cpu") | read("profile", self.profile)
        if given["precision"] == "auto":
            given["precision"] = precision(given["backbone"], on_gpu=self.device.type == "cuda")
        return given

    def data(self, name: str) -> DataSpec:
        size = self.sizes["cache_size"]
        return DataSpec(name, {}, size=size, channels=3, val=0.15, test=0.15, seed=0)

    def stage(self, task: str, data: DataSpec, prepared: Prepared) -> StageSpec:
        sizes, given = self.sizes, TASK | read("task", task)
        training = Training(
            backbone=sizes["backbone"], image_size=sizes["image_size"], steps=STEPS,
            global_batch=sizes["batch"], bn_groups=sizes["bn_groups"],
            precision=sizes["precision"], optimizer=given["optimizer"],
            weight_decay=given["weight_decay"], warmup=0.0,
            augment=augment_of(read("modality", self.modality), task), fraction=1.0,
            lr=LRPolicy((GENTLE * given["lr_range"][0],), 1),
        )  # fmt: skip
        return StageSpec(
            kind=PRETEXT, name=task, params=given["params"], version=version(TASKS, task),
            training=training, inputs={}, data={POOL: KnownData(data, prepared.digest)}, seed=0,
        )  # fmt: skip


def read(group: str, name: str) -> Any:
    """Read `spaces/GROUP/NAME.yaml`; UserError names the nearest known name."""
    known = tuple(sorted(path.stem for path in (SPACES / group).glob("*.yaml")))
    if name not in known:
        raise UserError(unknown(f"--{group}", name, known))
    return yaml.safe_load((SPACES / group / f"{name}.yaml").read_text())
