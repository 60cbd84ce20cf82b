"""The machine's hardware, found without torch; the precision that fits a search."""

import glob
import os
from dataclasses import replace

from search.space import Space
from trainables.architectures import precision


def describe(resources: dict[str, float]) -> str:
    """Describe a cluster's resources in words."""
    kinds = [key.split(":", 1)[1] for key in resources if key.startswith("accelerator_type:")]
    gpus = f"{resources.get('GPU', 0):g} GPUs ({', '.join(kinds) or 'of unknown kind'}), "
    return (gpus if resources.get("GPU") else "") + f"{resources.get('CPU', 0):g} CPU cores"


def gpus() -> int:
    """Count the NVIDIA devices visible here."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    return len(glob.glob("/dev/nvidia[0-9]*"))


def resolve(space: Space, cluster_gpus: int) -> Space:
    """Replace `precision: auto`: whichever trains the backbone faster, see `architectures`."""
    if space.profile.precision != "auto":
        return space
    fastest = precision(space.profile.backbone, on_gpu=cluster_gpus > 0)
    return replace(space, profile=replace(space.profile, precision=fastest))
