"""How long class-activation maps take, and whether attention tells a trained network from none.

    python tests/benchmarks/attention.py PATH/isic-mini --images 1000 [key=value ...]

A fresh network of the profile (`cpu` by default) explains that many validation images on one core;
the bound is two minutes for 1,000. Decoded images and masks are kept in --cache.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch

from search.chains.images import data_spec
from search.chains.node import Node
from search.chains.plan import Plan
from search.space import Space, load
from trainables.backbone import Backbone
from trainables.downstream.attention import attend
from trainables.downstream.classifier import Recipe, made
from trainables.images.cache import Prepared, Source, open_cache
from trainables.images.masks import masks_of
from trainables.spec import Runtime
from trainables.training.loop import context

BOUND = 120.0  # seconds for 1,000 images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    args, overrides = parser.parse_known_args()
    torch.set_num_threads(1)
    space = load("isic3", ["profile=cpu", "profile.precision=float32", *overrides])
    source = Source(data_spec(space), args.root)
    data = open_cache(source.prepare(args.cache))
    found = masks_of(source, None, space.profile.image_size)
    masks = found.opened(args.cache) if found else None
    part = data.split["val"][: args.images]
    took = explained(space, replace(data, split={**data.split, "val": part}), masks)
    whole = 1000 * took / len(part)
    print(f"{len(part)} images: {took:.1f} s; 1,000 take {whole:.0f} s of {BOUND:.0f}")


def explained(space: Space, data: Prepared, masks: Prepared | None) -> float:
    """Print the measures of a fresh network; return the seconds that they took."""
    backbone, score = space.profile.backbone, Plan(space, data.digest).score(Node.parse("scratch"))
    train = data.split["train"]
    known = context(score, len(train), data.mean, data.std, repeated=True)
    labels = torch.from_numpy(data.labels[train])
    network = Backbone(backbone, known.channels)
    task = made(network, known, labels, len(data.classes), Recipe()).eval()
    begun = time.perf_counter()
    found = attend(task, data, masks, backbone, 0, Runtime(threads=1))
    took = time.perf_counter() - begun
    for name, one in found.measures(data).items():
        print(f"{name:26} {one.value:6.2f} ({one.low:.2f} to {one.high:.2f})")
    return took


if __name__ == "__main__":
    main()
