"""A start: a torchvision or timm weight file, read into the store as a stage with a backbone."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from trainables.backbone import Backbone, save_backbone
from trainables.durable import check_same
from trainables.errors import UserError
from trainables.kinds import Kind, Work
from trainables.schema import Schema, read
from trainables.spec import WEIGHTS
from trainables.training import distributed
from trainables.workers.job import Result


class Plugin(Kind):
    """The weights of the file at the place `weights`."""

    @dataclass(frozen=True)
    class Params(Schema):
        """sha256: of the file, 16 digits."""

        sha256: str
        backbone: str
        channels: int

    version = "1"

    def run(self, work: Work) -> Result:
        params = read(self.Params, work.spec.params)
        backbone = Backbone(params.backbone, params.channels)
        start, file = work.spec.name, work.places[WEIGHTS]
        load(backbone, file, start)
        check_same(f"starts.{start}", file, params.sha256)
        if distributed.rank() == 0:
            save_backbone(backbone, work.out)
        return Result()


def load(backbone: Backbone, path: Path, start: str) -> None:
    """Load a file, without its `fc`; UserError, which names the start, if it doesn't fit."""
    tensors = _tensors(path, start)
    state = {key: value for key, value in tensors.items() if not key.startswith("fc.")}
    own = backbone.net.state_dict()
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    if wrong := [*wrong, *sorted(state.keys() - own.keys())]:
        raise UserError(
            f"starts.{start}={path}: must fit profile.backbone ({len(wrong)} of its and the file's "
            f"tensors differ, first {wrong[0]}); try the weights of that ResNet, and "
            "data.channels=3"
        )
    backbone.net.load_state_dict(state)


def _tensors(path: Path, start: str) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises almost any type for a damaged file
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"starts.{start}={path}: must be a whole .safetensors or weights-only .pth file "
            f"({reason or type(error).__name__}); try fetching it again"
        ) from None
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise UserError(
            f"starts.{start}={path}: must hold named tensors alone; try saving a state_dict()"
        )
    return state
