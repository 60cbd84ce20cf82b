"""What is measured: stages as a search would train them, from the YAML files in `spaces/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from trainables.errors import UserError
from trainables.images.cache import Prepared
from trainables.plugins import unknown
from trainables.processor import has_bfloat16
from trainables.spec import DataSpec, LRPolicy, StageSpec, Training

SPACES = Path(__file__).resolve().parents[2] / "spaces"
EPOCHS = 1e6  # of the schedule: no measurement comes to its end
GENTLE = 1e-3  # of the least learning rate: views that never change must not break the network


@dataclass(frozen=True)
class Recipes:
    """The stages of one profile on one device."""

    profile: str
    device: torch.device

    @property
    def sizes(self) -> dict[str, Any]:
        """The profile, its precision decided."""
        sizes = read("profile", self.profile)
        if sizes["precision"] == "auto":
            fast = self.device.type == "cuda" or has_bfloat16()
            sizes["precision"] = "bfloat16" if fast else "float32"
        return sizes

    def data(self, name: str) -> DataSpec:
        size = self.sizes["cache_size"]
        return DataSpec(name, {}, size=size, channels=3, val=0.15, test=0.15, seed=0)

    def stage(self, task: str, data: DataSpec, prepared: Prepared) -> StageSpec:
        sizes, given = self.sizes, read("task", task)
        training = Training(
            backbone=sizes["backbone"],
            image_size=sizes["image_size"],
            epochs=EPOCHS,
            global_batch=sizes["batch"],
            bn_groups=sizes["bn_groups"],
            precision=sizes["precision"],
            optimizer=given["optimizer"],
            weight_decay=given["weight_decay"],
            warmup=0.0,
            lr=LRPolicy((GENTLE * given["lr_range"][0],), 1.0),
        )
        return StageSpec(
            pretext=task,
            params=given["params"],
            augment=read("modality", "dermoscopy"),
            training=training,
            data=data,
            data_digest=prepared.digest,
            seed=0,
            version=given["version"],
            parent=None,
        )


def read(group: str, name: str) -> dict[str, Any]:
    """`spaces/GROUP/NAME.yaml`."""
    known = tuple(sorted(path.stem for path in (SPACES / group).glob("*.yaml")))
    if name not in known:
        raise UserError(unknown(f"--{group}", name, known))
    found: dict[str, Any] = yaml.safe_load((SPACES / group / f"{name}.yaml").read_text())
    return found
