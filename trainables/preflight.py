"""Checks before an image is decoded: can this be trained on these images and this machine?"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch

from trainables import architectures, networks
from trainables.backbone import Backbone, blocks_of
from trainables.errors import UserError
from trainables.images.cache import Source
from trainables.kinds import KINDS
from trainables.plugins import load
from trainables.spec import MASKS, POOL, StageSpec


class Start(Protocol):
    """What is checked of a start."""

    @property
    def trainable(self) -> str: ...


def check(
    specs: Sequence[StageSpec],
    source: Source,
    pool: Source | None = None,
    masks: Source | None = None,
) -> None:
    """Raise UserError with a valid value if a stage can't be done on these images.

    pool: where pretext tasks see more than the training images. masks: of the images.
    """
    others = {POOL: pool, MASKS: masks}
    for spec in specs:
        tables = {role: others.get(role) or source for role in spec.data}
        load(KINDS, spec.kind)().check(spec, tables)


def check_backbone(name: str, image_size: int) -> None:
    """Raise UserError if there is no such backbone, or it can't take images of this size."""
    architectures.check(name)
    networks.check_sides(name, image_size)


def check_trainable(name: str, starts: Mapping[str, Start]) -> None:
    """Raise UserError if a start trains more blocks than the backbone has."""
    for start, one in starts.items():
        if one.trainable != "all":
            try:
                Backbone(name).train_last(blocks_of(one.trainable))
            except UserError as error:
                where = f"starts.{start}"
                raise UserError(f"{where}.{error}") from None


def check_gpus(count: int, precision: str) -> None:
    """Raise UserError if PyTorch can't use this machine's GPUs, or not at this precision."""
    if not count:
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"GPUs={count}: must be usable by PyTorch {torch.__version__}, whose CUDA "
            f"{torch.version.cuda} may need a newer driver (see `nvidia-smi`); try updating it, or "
            "hiding the GPUs with CUDA_VISIBLE_DEVICES= (empty)"
        )
    if precision == "bfloat16" and torch.cuda.get_device_capability()[0] < 8:
        raise UserError(
            f"profile.precision=bfloat16: must be float32 on a {torch.cuda.get_device_name()}, "
            "which only emulates bfloat16; try profile.precision=float32"
        )
