"""Optimisers by name, and the schedule: linear warm-up, then cosine to zero."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda groups, **kw: torch.optim.SGD(groups, momentum=0.9, fused=True, **kw),
    "adamw": lambda groups, **kw: torch.optim.AdamW(groups, fused=True, **kw),
}


def build(name: str, groups: Iterable[Any], lr: float, weight_decay: float) -> Optimizer:
    """groups: parameters or parameter groups; a group's own `lr` is a factor to the stage's."""
    return OPTIMIZERS[name](list(groups), lr=lr, weight_decay=weight_decay)


def factor(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at `step` of `steps`; `warmup` is a share of the steps."""
    rising = math.ceil(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
