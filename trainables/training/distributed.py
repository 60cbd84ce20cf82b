"""The few collective operations that tasks need; on one process each is the identity."""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def all_gather(x: Tensor) -> Tensor:
    """Concatenate [b, ...] of every rank in rank order: [world * b, ...], without gradient."""
    if world_size() == 1:
        return x
    parts = [
        torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world_size())
    ]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def all_gather_object(value: str) -> list[str]:
    """Return every rank's value, in rank order."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return values


@torch.no_grad()
def all_mean(x: Tensor) -> Tensor:
    """Return the elementwise mean over ranks, as a new tensor."""
    x = x.clone()
    if world_size() > 1:
        dist.all_reduce(x)
        x /= world_size()
    return x


@torch.no_grad()
def broadcast(module: nn.Module) -> None:
    """Copy rank 0's parameters and buffers to every rank."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)
