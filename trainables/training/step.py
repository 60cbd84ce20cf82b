"""One training step, without a synchronisation between host and GPU.

step = Step(task, task, place(task, training, 0.1, device), training, 0.1, steps=100)
row = step(feed.batch(0))  # loss and metrics, still on the device
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainables.backbone import group_batch_norm
from trainables.spec import Training
from trainables.task import Batch, Task
from trainables.training import distributed
from trainables.training import optimisers as optim

BATCH = 256  # images in the batch that a learning rate is for


def peak(rate: float, training: Training) -> float:
    """Return the optimiser's peak rate: in proportion to the batch (Goyal et al., 2017)."""
    return rate * training.global_batch / BATCH


def place(task: Task, training: Training, rate: float, device: torch.device) -> Optimizer:
    """Prepare a fresh task for training on the device and return its optimiser.

    rate: see `peak`. The number of ranks must divide `training.bn_groups`.
    """
    group_batch_norm(task, training.bn_groups // distributed.world_size())
    task.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = task.parameter_groups()
    if training.layer_decay != 1:
        groups = optim.layer_decayed(groups, task.backbone.blocks(False), training.layer_decay)
    return optim.build(training.optimizer, groups, peak(rate, training), training.weight_decay)


@dataclass
class Step:
    """A training step of `task`.

    model: the task or its DDP wrapper. rate: see `peak`; of a schedule of `steps` steps. decays:
    whether it falls to zero after the warm-up.
    """

    model: nn.Module
    task: Task
    optimizer: Optimizer
    training: Training
    rate: float
    steps: int
    decays: bool = True

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        rate = peak(self.rate_at(batch.step), self.training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        bfloat16 = self.training.precision == "bfloat16"
        with torch.autocast(batch.index.device.type, torch.bfloat16, enabled=bfloat16):
            loss, metrics = self.model(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.task.before_step(batch.step)
        self.optimizer.step()
        self.task.after_step(batch.step)
        return {"loss": loss.detach(), **metrics}

    def rate_at(self, step: int) -> float:
        """Return the schedule's rate for a batch of 256 images, of the backbone's last block."""
        return self.rate * optim.factor(step, self.steps, self.training.warmup, self.decays)
