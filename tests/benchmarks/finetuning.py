"""Which way of fine-tuning pays? Heads, class balance and BatchNorm, each changed by itself.

    python tests/benchmarks/finetuning.py --data PATH --out DIR --seeds 0,1,2          # resumes
    python tests/benchmarks/finetuning.py --out DIR --start STAGE profile.steps=200    # a stage's
    python tests/benchmarks/finetuning.py --out DIR --only "head x1" --only weighted
    python tests/benchmarks/finetuning.py --data PATH --out DIR --only "head x" downstream=segment \
        data=cxr_covid modality=xray data.channels=1                           # a U-Net's decoder

Every way is fine-tuned from scratch, or from the backbone in the folder STAGE, at each rate of the
range by itself, and scored on validation after its last step. Seeds are repeats: they share the
split, not labels, batches or weights. Finished parts are files in DIR. Measured: recipes.md.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search.chains.images import data_spec, masks_spec  # noqa: E402
from search.chains.node import Node  # noqa: E402
from search.chains.plan import Plan  # noqa: E402
from search.space import hardware, load  # noqa: E402
from trainables.backbone import WEIGHTS as BACKBONE  # noqa: E402
from trainables.downstream.classifier import Classifier  # noqa: E402
from trainables.images.cache import Prepared, open_cache, prepare  # noqa: E402
from trainables.images.pool import opened  # noqa: E402
from trainables.images.splits import Index  # noqa: E402
from trainables.kinds import KINDS, Work, classify  # noqa: E402
from trainables.plugins import load as load_plugin  # noqa: E402
from trainables.spec import BACKBONE as PARENT  # noqa: E402
from trainables.spec import IMAGES, MASKS, Runtime, digest  # noqa: E402
from trainables.task import Batch  # noqa: E402
from trainables.training.feed import Feed  # noqa: E402

MEASURES = "balanced_accuracy", "macro_auroc", "dice", "iou"  # of those that there are
RUNTIME = Runtime(threads=1, log_every=10, checkpoint_seconds=60)
# the parameters of a way, and what of the product it replaces
WAYS: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "as it is: logits adjusted, head from a probe, x10, BatchNorm fitted": ({}, ()),
    "head drawn": ({}, ("drawn",)),
    "balanced batches, head drawn": ({"class_balanced": False}, ("batches", "drawn")),
    "head x1": ({"head_lr": 1.0}, ()),
    "head x100": ({"head_lr": 100.0}, ()),
    "weighted mean, by the sum of weights": ({}, ("mean",)),
    "weighted, plain mean": ({}, ("plain",)),
    "no balance": ({"class_balanced": False}, ()),
    "BatchNorm's running averages": ({}, ("running",)),
}


def weighted(divided: bool) -> Any:
    """Return a classifier's forward with classes weighted by inverse frequency."""

    def forward(self: Classifier, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.head(self.backbone(self.view(batch.images, batch.draw))).float()
        target = self.labels[batch.index]
        counts = torch.bincount(self.labels, minlength=logits.shape[1]).clamp(min=1).float()
        weight = len(self.labels) / (len(counts) * counts)
        losses = F.cross_entropy(logits, target, weight=weight, reduction="sum")
        total = weight[target].sum() if divided else len(target)
        accuracy = (logits.argmax(1) == target).float().mean().detach()
        return losses / total, {"accuracy": accuracy}

    return forward


def balanced(self: Feed, rng: np.random.Generator) -> Index:
    """Return the positions of an epoch, of which every batch has as many of each class."""
    count, labels = self.epoch_steps * self.global_batch, self.data.labels[self.index]
    own = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = -(-count // len(own))
    columns = [
        np.concatenate([rng.permutation(one) for _ in range(-(-each // len(one)))])[:each]
        for one in own
    ]
    return rng.permuted(np.stack(columns, 1), axis=1).reshape(-1)[:count]


REPLACED = {
    "drawn": (Classifier, "start", lambda *_: None),
    "batches": (Feed, "_order", balanced),
    "mean": (Classifier, "forward", weighted(divided=True)),
    "plain": (Classifier, "forward", weighted(divided=False)),
    "running": (classify, "fit", lambda *_: None),
}


@dataclass(frozen=True)
class Cell:
    """One way, seed and rate."""

    overrides: tuple[str, ...]
    data: Path | None
    out: Path
    start: Path | None
    way: str
    seed: int
    rate: float

    @property
    def file(self) -> Path:
        start, weights = ("scratch", "") if self.start is None else (self.start.name, self.weights)
        name = "".join(c if c.isalnum() else "-" for c in self.way)
        what = digest([*self.overrides, str(self.data), weights])[:8]
        return self.out / f"{start}-{what}-{name}-{self.seed}-{self.rate:g}.json"

    @property
    def weights(self) -> str:
        """The digest of the backbone that is fine-tuned."""
        assert self.start
        with (self.start / BACKBONE).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def run(self) -> None:
        if self.file.exists():
            return
        torch.set_num_threads(1)
        plan, images, masks = planned(self.overrides, self.data, self.out)
        params, replaced = WAYS[self.way]
        score = plan.score(Node.parse("scratch").again(self.seed))
        lr = replace(score.trained.lr, range=(self.rate,))
        training = replace(score.trained, lr=lr)
        spec = replace(score, training=training, params={**score.params, **params})
        work = self.file.with_suffix(".d")
        work.mkdir(exist_ok=True)
        with ExitStack() as stack:
            for name in replaced:
                stack.enter_context(mock.patch.object(*REPLACED[name]))
            data = {IMAGES: images} | ({MASKS: masks} if masks else {})
            inputs = {PARENT: self.start} if self.start else {}
            kind = load_plugin(KINDS, spec.kind)()
            done = kind.run(Work(spec, RUNTIME, work, lambda _: None, data, inputs))
        assert done.score
        found = done.score.measures
        self.file.write_text(json.dumps({n: found[n].value for n in MEASURES if n in found}))


def planned(
    overrides: tuple[str, ...], data: Path | None, out: Path
) -> tuple[Plan, Prepared, Prepared | None]:
    """Return the plan, the decoded images and, for segmentation, their masks."""
    space, cache = hardware.resolve(load("isic3", list(overrides)), 0), out / "cache"
    images = open_cache(prepare(data_spec(space), data, cache))
    masks = None
    if space.downstream.kind == "segment":
        masks = opened(masks_spec(space), [data, None], cache)
    known = {"count": len(images.split["train"]), "masks": masks.digest if masks else None}
    return Plan(space, images.digest, **known), images, masks


def rows(cells: list[Cell]) -> Iterator[str]:
    """Yield a row a way and rate: means over seeds, and the sd between them."""
    for way, rate in dict.fromkeys((cell.way, cell.rate) for cell in cells):
        own = [json.loads(c.file.read_text()) for c in cells if (c.way, c.rate) == (way, rate)]
        columns = [[one[name] for one in own] for name in own[0]]
        spread = [f" (sd {stdev(one):.1f})" if len(one) > 1 else "" for one in columns]
        means = [f"{fmean(one):.2f}{sd}" for one, sd in zip(columns, spread, strict=True)]
        yield f"| {way} | {rate:g} | {' | '.join(means)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="PATH")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True)
    parser.add_argument("--start", type=Path, metavar="STAGE", help="a folder with a backbone")
    parser.add_argument("--only", action="append", metavar="WAY", help="its name, or how it begins")
    parser.add_argument("--rates", metavar="RATE,...", help="default: the space's range")
    parser.add_argument("--seeds", default="0,1,2", metavar="N,...")
    parser.add_argument("--jobs", type=int, default=1, help="side by side, one core each")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    args = parser.parse_intermixed_args()
    overrides = (*(() if args.data else ("data=demo",)), *args.overrides)
    plan, *_ = planned(overrides, args.data, args.out)  # decoded once
    chosen = plan.space.downstream
    usual = chosen.lr_range_later if args.start and chosen.lr_range_later else chosen.lr_range
    cells = [
        Cell(overrides, args.data, args.out, args.start, way, seed, rate)
        for way in WAYS
        if any(way == one if one in WAYS else way.startswith(one) for one in args.only or WAYS)
        for rate in (map(float, args.rates.split(",")) if args.rates else usual)
        for seed in map(int, args.seeds.split(","))
    ]
    with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:  # torch has threads
        list(pool.map(Cell.run, cells))
    names = json.loads(cells[0].file.read_text())
    print(f"| fine-tuned | rate for 256 images | {' | '.join(names)} |")
    print(f"| --- | ---: {'| ---: ' * len(names)}|")
    print(*rows(cells), sep="\n")


if __name__ == "__main__":
    main()
