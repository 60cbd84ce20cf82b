"""What a training step of MoCo costs: its time, its launches, and what several processes share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from table import Table
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from trainables.bench.measure import turn
from trainables.bench.pipelines import Ours
from trainables.bench.recipes import Recipes
from trainables.images.cache import open_cache, prepare
from trainables.spec import DataSpec

PROFILED = 5  # steps
WAIT = 45.0  # seconds; longer than any process takes to start
KINDS = {"BatchNorm": ("batch_norm", "bn_"), "elementwise": ("elementwise",)}


@dataclass(frozen=True)
class Sizes:
    """Sizes of a step. seconds: length of one measurement."""

    profile: str
    backbone: str
    image_size: int
    batch: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.backbone} {self.image_size} px"


SMALL = Sizes("smoke", "resnet10", 32, 32, 0.2)
FULL = Sizes("gpu", "resnet18", 64, 256, 2.0)
LARGE = Sizes("gpu", "resnet50", 224, 256, 2.0)


def measure(args: argparse.Namespace, table: Table) -> int:
    """Measure steps on images of 96 px, so that one reading thread is never the limit."""
    sizes, most = (SMALL, 2) if args.small else (FULL, 8)
    data = args.dataset if args.data else "demo"
    drawn = {} if args.data else {"n": 4 * sizes.batch, "size": 48}
    spec = DataSpec(data, drawn, 96, channels=3, val=0.1, test=0.1, seed=0)
    cache = prepare(spec, args.data, args.work)
    times(sizes, cache, table)
    processes(sizes, cache, most, table)
    if not args.small:
        times(LARGE, cache, table)
    return 0


def times(sizes: Sizes, cache: Path, table: Table) -> None:
    for groups in (4, 1):
        pipeline, device = step_of(sizes, cache, groups)
        made, spent, *_ = turn(pipeline, sizes.seconds, device)
        where = f"{sizes}, BatchNorm groups: {groups}"
        table.put(f"{where}; step", 1000 * spent / made, "ms")
        for name, (value, unit) in kernels(pipeline.step, device).items():
            table.put(f"{where}; {name}", value, unit)
        del pipeline


def step_of(sizes: Sizes, cache: Path, groups: int) -> tuple[Ours, torch.device]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = open_cache(cache)
    recipes = Recipes(sizes.profile, device)
    stage = recipes.stage("moco", recipes.data(data.name), data)
    training = replace(
        stage.training, backbone=sizes.backbone, image_size=sizes.image_size,
        global_batch=sizes.batch, bn_groups=groups,
    )  # fmt: skip
    return Ours(replace(stage, training=training), data, device), device


def kernels(step: Callable[[], object], device: torch.device) -> dict[str, tuple[float, str]]:
    """Count launches and sum kernel times of a step; on a CPU, of operations."""
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with profile(activities=activities, acc_events=True) as profiler:
        for _ in range(PROFILED):
            step()
        if gpu:
            torch.cuda.synchronize()
    kind = DeviceType.CUDA if gpu else DeviceType.CPU
    events = [e for e in profiler.events() if e.device_type == kind and not e.is_user_annotation]
    spent = [
        event.time_range.elapsed_us() if gpu else event.self_cpu_time_total for event in events
    ]
    whole = sum(spent)
    found = {"launches": (len(events) / PROFILED, "a step"),
             "kernels": (whole / PROFILED / 1000, "ms a step")}  # fmt: skip
    for name, words in KINDS.items():
        part = sum(us for event, us in zip(events, spent, strict=True)
                   if any(word in event.name for word in words))  # fmt: skip
        found[f"{name} kernels"] = part / max(whole, 1), "of the kernels' time"
    return found


def processes(sizes: Sizes, cache: Path, most: int, table: Table) -> None:
    """Train in 1, 2, 4, ... processes at a time, up to `most`; the others wait."""
    context = mp.get_context("spawn")
    barrier, rates = context.Barrier(most + 1, timeout=WAIT), context.Queue()
    given = (sizes, cache, most, barrier, rates)
    started = [context.Process(target=worker, args=(rank, *given), daemon=True)
               for rank in range(most)]  # fmt: skip
    for process in started:
        process.start()
    for count in doubled(most):
        barrier.wait()
        together = sum(rates.get(timeout=WAIT) for _ in range(count))
        table.put(f"{sizes}, processes: {count}", together, "images/s together")
    for process in started:
        process.join(WAIT)


def worker(rank: int, sizes: Sizes, cache: Path, most: int, barrier: Any, rates: Any) -> None:
    torch.set_num_threads(1)
    pipeline, device = step_of(sizes, cache, groups=4)
    turn(pipeline, 0.0, device)  # warm
    for count in doubled(most):
        barrier.wait()
        if rank < count:
            made, spent, *_ = turn(pipeline, sizes.seconds, device)
            rates.put(made * sizes.batch / spent)


def doubled(most: int) -> list[int]:
    return [1 << power for power in range(most.bit_length())]
