"""A start: a weight file, as it comes, read into the store as a stage with a backbone.

print(check(Path("moco_v2.pth"), "imagenet", "resnet50", 3))    # what was left out, ...
file = fetched("imagenet", "convnext_tiny", Path("runs/store/.weights"))   # timm's own weights
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from trainables import architectures, networks
from trainables.backbone import Backbone, save_backbone
from trainables.durable import check_same, replacing
from trainables.errors import UserError
from trainables.kinds import Kind, Work
from trainables.kinds._weight_file import fitted, read_file
from trainables.schema import Schema, read
from trainables.spec import WEIGHTS
from trainables.training import distributed
from trainables.workers.job import Result

FILE = "model.safetensors"  # of timm's weights, on the hub


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


def load(backbone: Backbone, path: Path, start: str) -> str:
    """Load a file; return what was changed, "" for nothing. UserError if it doesn't fit."""
    tensors, notes = read_file(path, start)
    state, more = fitted(tensors, backbone.net, f"starts.{start}={path}")
    backbone.net.load_state_dict(state)
    return "; ".join([*notes, *more])


def check(path: Path, start: str, backbone: str, channels: int) -> str:
    """Return one line on how a file becomes the backbone; UserError if it can't."""
    said = load(Backbone(backbone, channels), path, start)
    return f"starts.{start}={path}: {said or 'taken as it is'}"


def fetched(start: str, backbone: str, folder: Path) -> Path:
    """Return the file of timm's pretrained weights of a backbone, written to `folder`.

    They come through timm's loader and cache. UserError if timm has none or can't get them.
    """
    path = folder / f"timm-{backbone}.safetensors"
    if path.exists():
        return path
    repository = _repository(start, backbone)
    import timm

    try:
        network = timm.create_model(backbone, pretrained=True, num_classes=0)
    except Exception as error:  # of the network, the hub, or a broken file in its cache
        raise UserError(
            f"starts.{start}=timm: must be in the hub's cache, or fetched, and the file {FILE} of "
            f"{repository} can't be fetched ({networks.line(error)}); try fetching it where there "
            f"is a network (`hf download {repository} {FILE}`) and starts.{start}=PATH/{FILE}"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as beside:
        save_file({k: v.contiguous() for k, v in network.state_dict().items()}, beside)
    return path


def _repository(start: str, backbone: str) -> str:
    """Return where timm's weights of a backbone lie, as owner/name."""
    from timm.models import get_pretrained_cfg

    architectures.check(backbone)
    known = get_pretrained_cfg(backbone)
    if known is None or not known.hf_hub_id:
        raise UserError(
            f"starts.{start}=timm: must be a backbone with weights of timm, and {backbone} has "
            f"none; try a file, or profile.backbone=resnet50"
        )
    return str(known.hf_hub_id)
