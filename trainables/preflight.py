"""Checks before an image is decoded: can this be trained on these images and this machine?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from trainables import plugins
from trainables.backbone import Backbone
from trainables.data import Table
from trainables.errors import UserError
from trainables.images.splits import Index, subset
from trainables.schema import read
from trainables.spec import DownstreamSpec, StageSpec
from trainables.task import Task
from trainables.training.loop import context


def check(
    specs: Sequence[StageSpec | DownstreamSpec], table: Table, split: Mapping[str, Index]
) -> None:
    """Raise UserError with a valid value if a batch or a task's parameters don't fit the data.

    split: positions in the table of each part.
    """
    train = split["train"]
    for spec in specs:
        unknown = (0.5,) * spec.data.channels  # mean and std, which no check uses
        if isinstance(spec, DownstreamSpec):
            train = subset(table.labels, table.groups, train, spec.label_fraction, spec.seed)
        known = context(spec.training, len(train), spec.augment, spec.seed, unknown, unknown)
        if isinstance(spec, StageSpec):
            kind: type[Task] = plugins.load("trainables.pretext", spec.pretext)
            read(kind.Params, spec.params, f"tasks.{spec.pretext}.params").check(known)


def check_backbone(name: str, channels: int, weights: str | None) -> None:
    """Raise UserError if there is no such backbone, or the weight file doesn't fit it."""
    with torch.device("meta"):  # shapes, no memory
        backbone = Backbone(name, channels)
    if weights:
        from trainables.downstream.finetune import fitting_weights  # imports pyarrow

        fitting_weights(backbone, Path(weights))


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
