"""One stage of every pretext task and one fine-tuning, as a search trains them.

--small has a stage of MoCo alone: tests train the others on a CPU.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from table import Table

from trainables.bench.recipes import TASK, Recipes, read
from trainables.errors import StageFailed
from trainables.images.cache import open_cache, prepare
from trainables.kinds.classify import finetune
from trainables.kinds.pretext import train_stage
from trainables.plugins import available
from trainables.spec import LRPolicy, Runtime, StageSpec, Training
from trainables.workers.job import Heartbeat, Result

RATES = 2  # of a task's LR range for later stages: few drawn images, from scratch
DOWNSTREAM_RATES = (0.03, 0.1)


def train(args: argparse.Namespace, table: Table) -> int:
    """Return the exit status: 0 if everything finished with finite numbers."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipes, runtime = Recipes(args.profile, device), Runtime(str(device))
    drawn = {} if args.data else {"n": 280 if args.small else 700, "size": 48}
    spec = replace(recipes.data(args.dataset if args.data else "demo"), params=drawn)
    data = open_cache(prepare(spec, args.data, args.work))
    sound = []
    for task in ("moco",) if args.small else available("trainables.pretext"):
        stage = recipes.stage(task, spec, data)
        rates = tuple((TASK | read("task", task))["lr_range_later"][:RATES])
        stage = replace(stage, training=shortened(stage.trained, rates, args.small))
        run = partial(train_stage, stage, runtime, data, None, folder(args.work, task), quiet)
        sound.append(told(table, task, run))
    labelled = downstream(stage, args.small)
    parent = args.work / task if sound[-1] else None
    run = partial(finetune, labelled, runtime, data, parent, folder(args.work, "tuned"), quiet)
    sound.append(told(table, "fine-tuning", run))
    return int(not all(sound))


def shortened(training: Training, rates: tuple[float, ...], small: bool) -> Training:
    """Return a training of few steps; of a network that takes seconds for them, not minutes."""
    steps, trial = (5, 2) if small else (60, 15)
    training = replace(training, steps=steps, warmup=0.1, lr=LRPolicy(rates, trial))
    return training if small else replace(training, backbone="resnet18", image_size=64)


def downstream(stage: StageSpec, small: bool) -> StageSpec:
    """A fine-tuning of the same sizes as the stage."""
    return replace(
        stage,
        kind="classify",
        name="classify",
        params={"objective": "balanced_accuracy"},
        training=shortened(stage.trained, DOWNSTREAM_RATES, small),
        data={"images": stage.data["pool"]},
    )


def told(table: Table, name: str, run: Callable[[], dict[str, float] | Result]) -> bool:
    """Train, add rows to the table, and return whether it finished with a finite loss."""
    try:
        done = run()
    except (StageFailed, torch.OutOfMemoryError) as error:
        table.put(name, f"failed: {error}")
        return False
    result = done.values if isinstance(done, Result) else done
    table.put(name, result["loss"], "loss")
    table.put(f"{name}: whole", result["seconds"], "s")
    table.put(f"{name}: training", result["images_per_second"], "images/s")
    if isinstance(done, Result):
        table.put(f"{name}: validation", done.score.value, f"% {done.score.objective}")
    return math.isfinite(result["loss"])


def folder(work: Path, name: str) -> Path:
    (work / name).mkdir()
    return work / name


def quiet(heartbeat: Heartbeat) -> None:
    """Ignore the progress."""
