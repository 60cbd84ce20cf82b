"""Optimisers by name, and the schedule: linear warm-up, then cosine decay to zero or none."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

TRUST = 0.02  # of LARS


class LARS(Optimizer):
    """SGD with momentum, whose rate follows the norms of each weight (You et al., 2017).

    A weight's rate is TRUST * |w| / (|g| + weight_decay |w|), at most lr (LARC's clipping). Vectors
    (BatchNorm, biases) and weights of norm 0 are trained at lr. As solo-learn does for small
    batches; a few calls for all weights, since a weight by itself takes 16 launches.
    """

    def __init__(self, groups: list[Any], lr: float, weight_decay: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "momentum": 0.9})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            if trained := [p for p in group["params"] if p.grad is not None]:
                self._move(trained, group)

    def _move(self, trained: list[Tensor], group: dict[str, Any]) -> None:
        buffers = [self._buffer(p) for p in trained]
        slopes, decay = [p.grad for p in trained if p.grad is not None], group["weight_decay"]
        moves = list(torch._foreach_add(slopes, trained, alpha=decay))
        scaled = [k for k, p in enumerate(trained) if p.ndim > 1]
        if scaled:
            scales = _scales([trained[k] for k in scaled], [slopes[k] for k in scaled], group)
            torch._foreach_mul_([moves[k] for k in scaled], scales)
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, moves)
        torch._foreach_add_(trained, buffers, alpha=-group["lr"])

    def _buffer(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        return state["momentum_buffer"]


def _scales(weights: list[Tensor], slopes: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Return each weight's rate as a fraction of the learning rate, on the device."""
    norms, slope_norms = (torch.stack(torch._foreach_norm(some)) for some in (weights, slopes))
    trust = TRUST * norms / (slope_norms + group["weight_decay"] * norms)
    scales = (trust / group["lr"]).clamp(max=1)
    return [*torch.where(trust > 0, scales, 1.0).unbind()]


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
