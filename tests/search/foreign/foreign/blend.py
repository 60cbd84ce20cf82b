"""Blended pairs of training images: a stage whose output is a data set."""

from dataclasses import dataclass, replace

import numpy as np

from trainables.images.cache import save_made
from trainables.kinds import Kind, Work
from trainables.schema import Schema, read
from trainables.spec import IMAGES
from trainables.training import distributed
from trainables.workers.job import Result


class Plugin(Kind):
    @dataclass(frozen=True)
    class Params(Schema):
        images: int

    version = "1"

    def run(self, work: Work) -> Result:
        data, params = work.data[IMAGES], read(self.Params, work.spec.params)
        rng = np.random.default_rng(work.spec.seed)
        pairs = rng.choice(data.split["train"], (2, params.images))
        blended = data.images[pairs].astype(np.uint16).mean(0).astype(np.uint8)
        names = tuple(f"blend{k}" for k in range(params.images))
        nothing = np.array([], np.int64)
        made = replace(
            data, images=blended, labels=np.zeros(params.images, np.int64), groups=names,
            names=names, split={"train": np.arange(params.images), "val": nothing, "test": nothing},
            duplicates=(), digest=work.spec.key(), name="blend",
        )  # fmt: skip
        if distributed.rank() == 0:
            save_made(work.out, made)
        return Result({"seconds": 0.1})
