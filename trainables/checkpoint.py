"""What a running stage must remember, in one safetensors file that is replaced as a whole."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from trainables.lr_range import Trial

NAME = "checkpoint.safetensors"


@dataclass
class Progress:
    """phase: which run of the stage, one for each rate of the LR range, then the full one."""

    phase: int = 0
    step: int = 0
    trials: list[Trial] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)  # of this phase, one a step
    rows: list[dict[str, float]] = field(default_factory=list)  # of this phase, one a report
    best: dict[str, float] | None = None  # the best evaluation of this phase
    seconds: float = 0.0  # trained, over all processes that had a part in it
    trial_seconds: float = 0.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def next_phase(self) -> None:
        self.phase, self.step = self.phase + 1, 0
        self.history, self.rows, self.best, self.tensors = [], [], None, {}

    def save(self, folder: Path) -> None:
        plain = asdict_without_tensors(self)
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.tensors.items()}
        beside = folder / f"{NAME}.tmp"
        save_file(tensors, beside, metadata={"progress": json.dumps(plain)})
        os.replace(beside, folder / NAME)

    @classmethod
    def load(cls, folder: Path) -> "Progress":
        """The stage's progress so far, on the CPU; a fresh one if there is none."""
        if not (folder / NAME).exists():
            return cls()
        with safe_open(folder / NAME, framework="pt") as file:
            plain: dict[str, Any] = json.loads(file.metadata()["progress"])
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
        plain["trials"] = [Trial(**trial) for trial in plain["trials"]]
        return cls(**plain, tensors=tensors)


def asdict_without_tensors(progress: Progress) -> dict[str, Any]:
    plain = {k: v for k, v in vars(progress).items() if k != "tensors"}
    return plain | {"trials": [asdict(trial) for trial in progress.trials]}


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors: `optim.<parameter's position>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optim.{position}.{name}": torch.as_tensor(value)
        for position, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave, each in its parameter's memory format.

    Fused optimisers walk both by memory, so a contiguous buffer of a channels_last weight would
    pair the wrong elements.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optim."):
            _, position, name = key.split(".", 2)
            like = parameters[int(position)]
            same = value.shape == like.shape
            placed = torch.empty_like(like).copy_(value) if same else value
            state.setdefault(int(position), {})[name] = placed
    whole = optimizer.state_dict()
    optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
