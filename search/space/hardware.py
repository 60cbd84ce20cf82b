"""The machine's hardware, found without torch; the precision and optimisers that fit a search."""

import glob
import os
from dataclasses import replace
from typing import TypeVar

from search.space import Downstream, Space, TaskChoice
from trainables.architectures import TRANSFORMER, is_transformer, precision

Trained = TypeVar("Trained", TaskChoice, Downstream)


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
    """Replace `precision: auto`, and what does not train the backbone if it is a transformer.

    auto: whichever trains the backbone faster, see `architectures.precision`.
    """
    space = _for_transformers(space) if is_transformer(space.profile.backbone) else space
    if space.profile.precision != "auto":
        return space
    fastest = precision(space.profile.backbone, on_gpu=cluster_gpus > 0)
    return replace(space, profile=replace(space.profile, precision=fastest))


def _for_transformers(space: Space) -> Space:
    """Replace optimiser, weight decay and rates where they are for SGD or LARS."""

    def changed(one: Trained, first: tuple[float, ...], later: tuple[float, ...]) -> Trained:
        if one.optimizer == TRANSFORMER.optimizer:
            return one
        decay = TRANSFORMER.weight_decay
        rated = replace(one, lr_range=first, lr_range_later=later)
        return replace(rated, optimizer="adamw", weight_decay=decay)

    own = TRANSFORMER
    tasks = {k: changed(one, own.rates, own.rates_later) for k, one in space.tasks.items()}
    tuned = own.downstream_rates, own.downstream_rates_later
    downstream = changed(space.downstream, *tuned)
    return replace(space, tasks=tasks, downstream=downstream)
