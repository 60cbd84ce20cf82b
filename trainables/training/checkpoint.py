"""The state of a running stage, in one safetensors file that is replaced as a whole.

safetensors has no checksum, so the file's metadata holds one over everything else in the file.
"""

import json
import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from trainables.durable import TEMPORARY, replacing
from trainables.storage import CHECKPOINT

log = logging.getLogger(__name__)
FORMAT = "3"  # version of the tensors' names
FULL = "full"  # name of the full run; a run of the LR range is named by its learning rate


@dataclass
class Run:
    """One training at one learning rate, as far as it has run."""

    lr: float
    step: int = 0
    seconds: float = 0.0  # of training, summed over restarts
    history: list[dict[str, float]] = field(default_factory=list)  # one per step
    rows: list[dict[str, float]] = field(default_factory=list)  # one per report
    probes: list[dict[str, float]] = field(default_factory=list)  # of the frozen backbone
    scores: dict[str, float | None] = field(default_factory=dict)  # for the LR policy, by step
    failed: str = ""  # the reason, if it failed
    tensors: dict[str, Tensor] = field(default_factory=dict)  # to resume from

    def plain(self) -> dict[str, object]:
        """Return everything but the tensors, as the checkpoint's JSON holds it."""
        return {key: value for key, value in vars(self).items() if key != "tensors"}


@dataclass
class Runs:
    """A stage's runs: those of the LR range and the full one."""

    by_name: dict[str, Run] = field(default_factory=dict)

    def entry(self, name: str, lr: float) -> Run:
        return self.by_name.setdefault(name, Run(lr))

    def trials(self) -> list[Run]:
        """Return the runs of the LR range, the lowest learning rate first."""
        found = [run for name, run in self.by_name.items() if name != FULL]
        return sorted(found, key=lambda run: run.lr)

    def save(self, folder: Path) -> None:
        plain = json.dumps({name: run.plain() for name, run in self.by_name.items()})
        tensors = {
            f"{name}/{key}": value.detach().cpu().contiguous()
            for name, run in self.by_name.items()
            for key, value in run.tensors.items()
        }
        for stale in folder.glob(f"{TEMPORARY}{CHECKPOINT}*"):
            stale.unlink(missing_ok=True)  # left by a process that was killed while writing
        metadata = {"progress": plain, "checksum": _checksum(plain, tensors), "format": FORMAT}
        with replacing(folder / CHECKPOINT) as beside:
            save_file(tensors, beside, metadata=metadata)

    @classmethod
    def load(cls, folder: Path) -> "Runs":
        """Read the runs so far, on the CPU; none if the file is missing or damaged."""
        path = folder / CHECKPOINT
        if not path.exists():
            return cls()
        try:
            runs, tensors = _read(path)
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: damaged (%s); the stage starts afresh", path, error)
            return cls()
        for key, value in tensors.items():
            name, _, own = key.partition("/")
            runs[name].tensors[own] = value
        return cls(runs)


def _read(path: Path) -> tuple[dict[str, Run], dict[str, Tensor]]:
    """Read and verify the file; raises ValueError or what safetensors and json raise."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        if metadata.get("format") != FORMAT:
            raise ValueError("of another version")
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
    if metadata["checksum"] != _checksum(metadata["progress"], tensors):
        raise ValueError("its checksum differs")
    progress = json.loads(metadata["progress"])
    return {name: Run(**values) for name, values in progress.items()}, tensors


def _checksum(plain: str, tensors: dict[str, Tensor]) -> str:
    """Return the CRC-32 of names, shapes, types and bytes, at 2 GB/s."""
    found = zlib.crc32(plain.encode())
    for key, value in sorted(tensors.items()):
        found = zlib.crc32(f"{key} {value.dtype} {list(value.shape)}".encode(), found)
        found = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as flat tensors: `optim.<parameter's position>.<name>`."""
    state = optimizer.state_dict()["state"]
    return {
        f"optim.{position}.{name}": torch.as_tensor(value)
        for position, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore the state from `optimizer_tensors`, in each parameter's memory format.

    Fused optimisers walk weight and buffer in memory order: a contiguous buffer of a channels_last
    weight would pair the wrong elements.
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
