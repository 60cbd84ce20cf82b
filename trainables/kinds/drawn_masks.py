"""Draw masks with a finished segmenter: a stage whose output is a data set, masks of all images.

    python search/run.py --space cxr4 --data PATH data.masks=runs/lungs/best/segmenter.safetensors

The file is what `segment` writes: a backbone with a decoder, and how its images were normalised.
Masks have the side that the segmenter sees. Its own images must have been fitted into squares in
the same way as these.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainables.backbone import Backbone
from trainables.downstream.unet import Segmenter
from trainables.durable import check_same
from trainables.errors import UserError
from trainables.images.cache import room_for, save_made
from trainables.kinds import Kind, Work
from trainables.modality import Preset
from trainables.schema import Schema, read
from trainables.spec import IMAGES, WEIGHTS
from trainables.task import Context
from trainables.training import distributed
from trainables.training.evaluation import over
from trainables.workers.job import Heartbeat, Result

SETTING = "data.masks"
BLOCK = 1024  # images whose masks are in memory at once


class Plugin(Kind):
    """Draw the masks of the role `images` with the file at the place `weights`."""

    @dataclass(frozen=True)
    class Params(Schema):
        """sha256: of the file, 16 digits."""

        sha256: str

    version = "1"

    def run(self, work: Work) -> Result:
        data, file = work.data[IMAGES], work.places[WEIGHTS]
        check_same(SETTING, file, read(self.Params, work.spec.params).sha256)
        network = loaded(file, data.images.shape[-1]).to(work.runtime.device)
        work.report(Heartbeat("drawing masks"))
        first, count, side = distributed.rank() == 0, len(data.names), network.context.image_size
        drawn = room_for(work.out, (count, side, side, 1)) if first else None

        def draw(images: Tensor) -> Tensor:
            return network.inside(images) > 0.5

        for rows in np.split(np.arange(count), range(BLOCK, count, BLOCK)):
            masks = over(rows, data, work.runtime, network, draw)
            if drawn is not None:
                drawn[rows] = (255 * masks).byte().numpy()[..., None]
        if drawn is not None:
            save_made(work.out, replace(
                data, images=drawn, mean=(0.0,), std=(1.0,), duplicates=(),
                digest=work.spec.key(), name="masks",
            ))  # fmt: skip
        return Result()


def save(network: Segmenter, backbone: str, path: Path) -> None:
    """Write a segmenter with all that it takes to apply it. backbone: its name."""
    seen = network.context
    known = {"backbone": backbone, "size": seen.image_size, "mean": seen.mean, "std": seen.std}
    state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    save_file(state, path, {"segmenter": json.dumps(known)})


def loaded(path: Path, channels: int) -> Segmenter:
    """Return the segmenter of a file; UserError unless it is one for images of these channels."""
    try:
        with safe_open(path, "pt") as file:
            known = json.loads((file.metadata() or {})["segmenter"])
    except (OSError, SafetensorError, KeyError):
        raise UserError(
            f"{SETTING}={path}: must be a file that a segmentation wrote; try the "
            "best/segmenter.safetensors of a search with downstream=segment, or a folder of masks"
        ) from None
    if len(known["mean"]) != channels:
        raise UserError(
            f"{SETTING}={path}: must be for images of {channels} channels, and is for "
            f"{len(known['mean'])}; try data.channels={len(known['mean'])}"
        )
    context = Context(
        images=0, global_batch=1, steps=1, epoch_steps=1, image_size=known["size"],
        channels=channels, mean=tuple(known["mean"]), std=tuple(known["std"]),
        augment=Preset.of({}), seed=0,
    )  # fmt: skip
    network = Segmenter(Backbone(known["backbone"], channels), context, torch.empty(0).__getitem__)
    network.load_state_dict(load_file(path))
    return network
