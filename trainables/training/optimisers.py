"""Optimisers by name, and the schedule: linear warm-up, then cosine decay to zero or none."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

TRUST = 0.001  # of LARS


class LARS(Optimizer):
    """SGD with momentum 0.9, scaled layer by layer for large batches (You et al., 2017).

    Every tensor's learning rate is lr * TRUST * |w| / (|g| + weight_decay |w|), as in the SwAV
    authors' recipe (LARC without clipping), or lr where |w| or |g| is 0.
    """

    def __init__(self, groups: list[Any], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.9})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                decay = group["weight_decay"]
                weight, slope = p.norm(), p.grad.norm()
                scale = TRUST * weight / (slope + decay * weight)
                scale = torch.where((weight > 0) & (slope > 0), scale, torch.ones_like(scale))
                move = p.grad.add(p, alpha=decay).mul_(scale)
                if "momentum_buffer" not in self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                buffer = self.state[p]["momentum_buffer"]
                buffer.mul_(group["momentum"]).add_(move)
                p.sub_(buffer, alpha=group["lr"])


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": lambda groups, **kw: torch.optim.SGD(groups, momentum=0.9, fused=True, **kw),
    "lars": LARS,
    "adamw": lambda groups, **kw: torch.optim.AdamW(groups, fused=True, **kw),
}


def build(name: str, groups: Iterable[Any], lr: float, weight_decay: float) -> Optimizer:
    """Build the optimiser `name` over parameters or parameter groups; KeyError if unknown."""
    return OPTIMIZERS[name](list(groups), lr=lr, weight_decay=weight_decay)


def layer_decayed(
    groups: Sequence[Any], blocks: Sequence[Sequence[nn.Parameter]], decay: float
) -> list[Any]:
    """Split parameter groups by block, whose learning rate is `decay` times that of the next.

    The last block's is `decay` times that of the heads (Bao et al., 2022).
    """
    depths = {id(p): len(blocks) - place for place, block in enumerate(blocks) for p in block}
    found = []
    for group in groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(depths.get(id(parameter), 0), []).append(parameter)
        scale = group.get("lr_scale", 1.0)
        found += [{**group, "params": p, "lr_scale": scale * decay**n} for n, p in by_depth.items()]
    return found


def factor(step: int, steps: int, warmup: float, decays: bool = True) -> float:
    """Return the fraction of the peak learning rate at `step`; warmup: a fraction of `steps`.

    decays: whether it falls to zero after the warm-up, or stays.
    """
    rising = math.ceil(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    if not decays:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))
