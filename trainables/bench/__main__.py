"""How fast is a training step, what limits it, and how fast are public pipelines?

All pipelines train on the same images, with the same task, model, batch and precision, in short
alternating turns. The table is printed; throughput.json (after every turn) and throughput.png are
written to --out.

  ours         the cache, views made in batches on the device, the training step
  limit        the same with one batch of pixels that stays on the device: no reading, no copying
  step alone   the same with views made only once: forward, backward and optimiser
  torchvision  our model, loss and optimiser, fed by torchvision's transforms in a DataLoader with
               one worker per core, from JPEG files
  lightly      lightly's transforms, heads and loss on our backbone, for the tasks that it has
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

import torch

from trainables.bench import figure
from trainables.bench.figure import Result
from trainables.bench.images import Images, collect, read_per_second
from trainables.bench.measure import Measured, race
from trainables.bench.pipelines import Ours, Pipeline, Public
from trainables.bench.recipes import Recipes
from trainables.durable import make_folder, write_json
from trainables.errors import UserError, first_line
from trainables.plugins import available, unknown
from trainables.processor import cores
from trainables.spec import DataSpec, StageSpec

HAS_LIGHTLY = importlib.util.find_spec("lightly") is not None
MISSING = "lightly: not installed, its rows are left out (uv sync --group bench)"
Show = Callable[[str, str, Measured], object]  # task, pipeline, its turns so far


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
    add(
        "--dataset",
        help="how --data is laid out: isic2019, folder, table or medmnist, "
        "with default parameters (default: isic2019)",
    )
    add("--seconds", type=float, default=15.0, help="per pipeline (default: %(default)s)")
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
        print(json.dumps(result.plain()))
    return 0


def first_turn(task: str, name: str, found: Measured) -> None:
    if len(found.turns) == 1:
        speed = found.images_per_second
        print(f"{task:18}{name:>13}{speed:13.0f} in the first turn", flush=True)


def measure(args: argparse.Namespace, show: Show = first_turn) -> Result:
    """Measure one task after the other; write the results, and call `show`, after every turn."""
    make_folder("--out", args.out)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipes = Recipes(args.profile, device)
    data = recipes.data((args.dataset or "isic2019") if args.data else "folder")
    with tempfile.TemporaryDirectory() as work:
        images = collect(data, args.data, recipes.sizes["batch"], Path(work))
        result = begun(recipes, data, images)
        if not HAS_LIGHTLY:
            print(MISSING)
        print(figure.heading())
        for task in args.tasks:
            stage = recipes.stage(task, data, images.prepared)
            makers = pipelines(stage, images, device)
            try:
                for name, found in race(makers, recipes.sizes["batch"], args.seconds, device):
                    result.tasks[task] = found
                    write_json(args.out / "throughput.json", result.plain(), indent=1)
                    show(task, name, found[name])
            except RuntimeError as error:  # out of memory, of the device or of /dev/shm
                result.failed[task] = first_line(error)
                print(f"{task:18}{result.failed[task]}", flush=True)
            if task in result.tasks:
                print(figure.line(task, result.tasks[task]), flush=True)
                figure.draw(result, args.out / "throughput.png")
    if not result.tasks:
        raise UserError(
            f"--profile={args.profile}: must fit the memory, and no task does; try smoke"
        )
    return result


def begun(recipes: Recipes, data: DataSpec, images: Images) -> Result:
    """Describe the machine, the settings and the cache, and print it."""
    sizes, prepared = recipes.sizes, images.prepared
    gpu = torch.cuda.get_device_name() if recipes.device.type == "cuda" else ""
    title = (
        f"{f'{gpu} and ' if gpu else ''}{cores()} CPU cores; profile {recipes.profile}: "
        f"{sizes['backbone']}, {sizes['image_size']} px, batch {sizes['batch']}, "
        f"{sizes['precision']}; "
        f"{'generated images' if prepared.demo else data.name}"
    )
    built, read = images.decoded_per_second, read_per_second(prepared, sizes["batch"])
    size = prepared.images[0].nbytes
    print(title)
    print(f"cache: built at {built:.0f} images/s, read at {read:.0f} images/s by one thread, "
          f"{size / 1024:.0f} KiB per image")  # fmt: skip
    cache = {"build": built, "read": read, "bytes": size, "shape": list(prepared.images.shape)}
    settings = {"profile": recipes.profile, **sizes, "data": asdict(data)}
    machine = {"torch": torch.__version__, "device": gpu or "cpu", "cores": cores()}
    known = {"generated": prepared.demo, "settings": settings, "cache": cache}
    return Result(title, {**machine, **known})


def pipelines(
    stage: StageSpec, images: Images, device: torch.device
) -> dict[str, Callable[[], Pipeline]]:
    """Return a builder of every pipeline that the task has; each builds its own model."""
    data = images.prepared
    makers: dict[str, Callable[[], Pipeline]] = {
        "ours": lambda: Ours(stage, data, device),
        "limit": lambda: Ours(stage, data, device, "pixels"),
        "step alone": lambda: Ours(stage, data, device, "views"),
        "torchvision": lambda: Public(stage, images, device),
    }
    if HAS_LIGHTLY:
        from trainables.bench.of_lightly import METHODS, Lightly

        if stage.name in METHODS:
            makers["lightly"] = lambda: Lightly(stage, images, device)
    return makers


if __name__ == "__main__":
    sys.exit(main())
