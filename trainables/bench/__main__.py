"""How fast is a training step, what limits it, and how fast are public pipelines?

All pipelines train on the same images, task, model, batch and precision, in short turns one after
the other. A table is printed; throughput.json (after every turn) and throughput.png are written to
--out.

  ours         the cache, views made in batches on the device, the training step
  limit        the same with one batch of pixels that lies on the device: no reading, no copying
  step alone   the same with its views made once: forward, backward, optimiser, nothing else
  torchvision  our model, loss and optimiser, fed by torchvision's transforms in a DataLoader with
               one worker a core, from JPEG files
  lightly      lightly's transforms, heads and loss on our backbone, where it has the task
               (uv sync --group bench)
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainables.bench import figure
from trainables.bench.images import Images, collect, read_rate
from trainables.bench.measure import Measured, race
from trainables.bench.pipelines import Ours, Pipeline, Public
from trainables.bench.recipes import Recipes
from trainables.durable import write_json
from trainables.errors import UserError
from trainables.plugins import available, unknown
from trainables.processor import cores
from trainables.spec import StageSpec

HAS_LIGHTLY = importlib.util.find_spec("lightly") is not None
COLUMNS = ("ours", "limit", "step alone", "torchvision", "lightly")
WAITING, MEMORY = "waiting: ours, torchvision", "memory: the same"
MISSING = "lightly: not installed, its rows are left out (uv sync --group bench)"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m trainables.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tasks = available("trainables.pretext")
    gpu = torch.cuda.is_available()
    add = parser.add_argument
    add("--profile", default="gpu" if gpu else "cpu", help="spaces/profile/NAME.yaml: model, "
        "sizes, batch, precision (default here: %(default)s)")  # fmt: skip
    add("--tasks", default=",".join(tasks), help="default: %(default)s")
    add("--data", type=Path, help="real images; default: generated JPEG files of 600 x 450 px")
    add("--dataset", help="how --data is laid out: spaces/data/NAME.yaml (default: isic2019)")
    add("--seconds", type=float, default=15.0, help="of each pipeline (default: %(default)s)")
    add("--out", type=Path, default=Path("runs/bench"), help="default: %(default)s")
    add("--json", action="store_true", help="print everything as the last line")
    args = parser.parse_args(argv)
    args.tasks = args.tasks.split(",")
    for task in args.tasks:
        if task not in tasks:
            raise UserError(unknown("--tasks", task, tasks))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args = arguments(argv)
        result = measure(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the tasks measured so far are written", file=sys.stderr)
        return 130
    print(f"{args.out / 'throughput.json'}, {args.out / 'throughput.png'}")
    if args.json:
        print(json.dumps(result))
    return 0


def first_turn(task: str, name: str, found: Measured) -> None:
    if len(found.rates) == 1:
        print(f"{task:18}{name:>13}{found.rate:13.0f} in the first turn", flush=True)


def measure(
    args: argparse.Namespace, show: Callable[[str, str, Measured], object] = first_turn
) -> dict[str, Any]:
    """Task after task; what is measured is written at once, and shown after every turn."""
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out={args.out}: must be a folder to write to ({error.strerror}); try another"
        ) from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipes = Recipes(args.profile, device)
    data = recipes.data((args.dataset or "isic2019") if args.data else "folder")
    with tempfile.TemporaryDirectory() as work:
        images = collect(data, args.data, recipes.sizes["batch"], Path(work))
        result = about(recipes, images, device)
        print(result["title"], describe_cache(result["cache"]), sep="\n")
        if not HAS_LIGHTLY:
            print(MISSING)
        print(heading())
        for task in args.tasks:
            stage = recipes.stage(task, data, images.prepared)
            raced = pipelines(stage, images, device)
            try:
                for name, found in race(raced, stage.training.global_batch, args.seconds, device):
                    result["tasks"][task] = summary(found)
                    write_json(args.out / "throughput.json", result, indent=1)
                    show(task, name, found[name])
            except (
                RuntimeError
            ) as error:  # no memory left: the device's, or a DataLoader's /dev/shm
                result["failed"][task] = str(error).splitlines()[0]
                print(f"{task:18}{result['failed'][task]}", flush=True)
            if task in result["tasks"]:
                print(line(task, result["tasks"][task]), flush=True)
                figure.draw(result, args.out / "throughput.png")
    if not result["tasks"]:
        raise UserError(
            f"--profile={args.profile}: must fit the memory, and no task does; try smoke"
        )
    return result


def about(recipes: Recipes, images: Images, device: torch.device) -> dict[str, Any]:
    sizes, batch = recipes.sizes, recipes.sizes["batch"]
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else ""
    where = f"{gpu} and {cores()} CPU cores" if gpu else f"{cores()} CPU cores"
    drawn = "generated images" if images.generated else images.spec.name
    title = (
        f"{where}; profile {recipes.profile}: {sizes['backbone']}, {sizes['image_size']} px, "
        f"batch {batch}, {sizes['precision']}; {drawn}"
    )
    cache = {
        "build": images.build,
        "read": read_rate(images.prepared, batch),
        "bytes": images.prepared.images[0].nbytes,
        "shape": list(images.prepared.images.shape),
    }
    settings = {"profile": recipes.profile, **sizes, "data": asdict(images.spec)}
    return {"title": title, "torch": torch.__version__, "device": gpu or "cpu", "cores": cores(),
            "generated": images.generated, "settings": settings, "cache": cache,
            "tasks": {}, "failed": {}}  # fmt: skip


def pipelines(
    stage: StageSpec, images: Images, device: torch.device
) -> dict[str, Callable[[], Pipeline]]:
    """What makes each that there is of the task, with a model of its own."""
    make: dict[str, Callable[[], Pipeline]] = {
        "ours": lambda: Ours(stage, images, device),
        "limit": lambda: Ours(stage, images, device, "resident"),
        "step alone": lambda: Ours(stage, images, device, "resident", made=True),
        "torchvision": lambda: Public(stage, images, device, cores()),
    }
    if HAS_LIGHTLY:
        from trainables.bench.of_lightly import METHODS, Lightly

        ctx = Ours.context_of(stage, images)
        if stage.pretext in METHODS:
            make["lightly"] = lambda: Lightly(stage, ctx, images, device, cores())
    return make


def summary(found: dict[str, Measured]) -> dict[str, Any]:
    """over: ours over each of those measured so far."""
    ours = found["ours"]
    over = {name: ours.over(other) for name, other in found.items() if name != "ours"}
    return {
        "of_limit": over.pop("limit", None),
        "over": {name: over[name] for name in COLUMNS[3:] if name in over},
        "pipelines": {name: plain(one) for name, one in found.items()},
    }


def plain(one: Measured) -> dict[str, Any]:
    return {
        "rate": one.rate,
        "waiting": one.waiting,
        "memory": one.memory,
        "turns": one.rates,
    }


def heading() -> str:
    rates = "".join(f"{name:>13}" for name in COLUMNS)
    ratios = f"{'ours/limit':>12}{'/torchvision':>14}{'/lightly':>10}"
    return f"{'images/s':18}{rates}{ratios}   {WAITING:>26}   {MEMORY}"


def line(task: str, row: dict[str, Any]) -> str:
    lines = row["pipelines"]
    rates = "".join(f"{lines[n]['rate']:13.0f}" if n in lines else f"{'–':>13}" for n in COLUMNS)
    over = [f"{row['over'][n]:.2f}" if n in row["over"] else "–" for n in COLUMNS[3:]]
    both = [lines[name] for name in ("ours", "torchvision") if name in lines]
    waiting = ", ".join(f"{one['waiting']:.0%}" for one in both)
    memory = ", ".join(f"{one['memory'] / 2**30:.2f} GiB" for one in both)
    limit = f"{row['of_limit']:.2f}" if row["of_limit"] else "–"
    ratios = f"{limit:>12}{over[0]:>14}{over[1]:>10}"
    return f"{task:18}{rates}{ratios}   {waiting:>26}   {memory}"


def describe_cache(cache: dict[str, Any]) -> str:
    return (
        f"cache: built at {cache['build']:.0f} images/s, read at "
        f"{cache['read']:.0f} images/s by one thread, {cache['bytes'] / 1024:.0f} KiB an image"
    )


if __name__ == "__main__":
    sys.exit(main())
