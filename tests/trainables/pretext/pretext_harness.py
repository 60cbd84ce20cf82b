"""Small tasks on small made-up images, and what a stage's loop does with them.

python pretext_harness.py RANK WORLD RENDEZVOUS OUT [TASK ...]    # a rank: runs each task under DDP
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import yaml
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from trainables.backbone import Backbone, group_batch_norm
from trainables.modality import Preset
from trainables.plugins import load
from trainables.schema import read
from trainables.task import Batch, Context, Draw, Task
from trainables.training import distributed
from trainables.training import optimisers as optim

ROOT = Path(__file__).parents[3]
N, BATCH, SIDE, LR = 32, 8, 48, 0.01
PRESET = Preset(True, True, 180, 0.4, 0.4, 0.4, 0.1, grayscale=0.2, blur=0.5, solarise=0.2)


def recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "spaces" / "task" / f"{name}.yaml").read_text())


def params(name: str, **changes: Any) -> Any:
    """The task's parameters by its recipe, with some changed."""
    return read(load("trainables.pretext", name).Params, {**recipe(name)["params"], **changes})


def pictures(n: int = N, channels: int = 3, side: int = SIDE) -> Tensor:
    """uint8 [n, channels, side, side]: smooth shapes with an up, a left and a colour."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = rng.uniform(0, 6, (n, channels, 4, 1, 1))
    z = np.sin(waves[:, :, 0] * x + waves[:, :, 1]) + np.sin(waves[:, :, 2] * y + waves[:, :, 3])
    return torch.from_numpy((z * 50 + 100 + 50 * y).clip(0, 255).astype(np.uint8))


def context(**changes: Any) -> Context:
    known = {
        "images": N,
        "global_batch": BATCH,
        "steps": 12,
        "epoch_steps": N // BATCH,
        "image_size": 32,
        "channels": 3,
        "mean": (0.5, 0.5, 0.4),
        "std": (0.2, 0.3, 0.2),
        "augment": PRESET,
        "seed": 1,
    }
    return Context(**{**known, **changes})


def build(
    name: str,
    params: dict[str, Any] | None = None,
    groups: int = 1,
    network: str = "resnet10",
    last_blocks: int = 0,
    **changes: Any,
) -> Task:
    """A fresh task as the loop makes it, of the smallest backbone."""
    torch.manual_seed(0)
    ctx = context(**changes)
    backbone = Backbone(network, ctx.channels)
    if last_blocks:
        backbone.train_last(last_blocks)
    task = load("trainables.pretext", name)(
        backbone, {**recipe(name)["params"], **(params or {})}, ctx
    )
    task.params.check(ctx)
    group_batch_norm(task, groups)
    return task


def started(name: str, params: dict[str, Any] | None = None, **changes: Any) -> Task:
    task = build(name, params, **changes)
    images = pictures(task.context.images, task.context.channels)
    task.start(lambda index: images[index])
    return task.train()


def batch_at(step: int, ctx: Context) -> Batch:
    epoch, place = divmod(step, ctx.epoch_steps)
    order = np.random.default_rng([ctx.seed, epoch]).permutation(ctx.images)
    local = ctx.global_batch // distributed.world_size()
    first = place * ctx.global_batch + distributed.rank() * local
    index = torch.from_numpy(order[first : first + local])
    images, draw = pictures(ctx.images, ctx.channels), Draw(ctx.seed, step, local, "cpu")
    return Batch(images[index], index, draw, step)


def optimiser(name: str, task: Task, lr: float = LR) -> torch.optim.Optimizer:
    given = recipe(name)
    return optim.build(given["optimizer"], task.parameter_groups(), lr, given["weight_decay"])


def train(
    task: Task, optimizer: torch.optim.Optimizer, steps: range, model: Any = None
) -> list[dict[str, float]]:
    """The loop's steps; the loss and metrics of each, means over ranks."""
    history = []
    for step in steps:
        loss, metrics = (model or task)(batch_at(step, task.context))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        task.before_step(step)
        optimizer.step()
        task.after_step(step)
        row = {"loss": loss.detach(), **metrics}
        history.append({k: float(distributed.all_mean(v.float())) for k, v in row.items()})
    return history


def control(task: Task) -> list[float]:
    """The task's control on the global batch after the last: means over ranks, in training mode.

    Each rank has running statistics of its own; a batch's are those of one process.
    """
    with torch.no_grad():
        told = task.shortcut(batch_at(task.context.steps, task.context))
    return [] if told is None else distributed.all_mean(told).tolist()


def run_rank(rank: int, world: int, rendezvous: str, out: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world)
    results = {}
    for name in names:
        task = started(name, groups=2 // world)
        model = DistributedDataParallel(task, broadcast_buffers=False) if world > 1 else None
        slow = optimiser(name, task, lr=3e-5)  # BatchNorm of few images blows rounding errors up
        history = train(task, slow, range(5), model)
        state = {key: value.clone() for key, value in task.state_dict().items()}
        results[name] = {"history": history, "state": state, "control": control(task)}
    torch.save(results, f"{out}.{world}.{rank}")
    if world > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    run_rank(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
