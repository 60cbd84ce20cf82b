"""Rendezvous of a worker group's ranks: on one node nothing listens outside loopback.

    TorchTrainer(serve, torch_config=Rendezvous(folder=str(scratch)), ...)

torch's default, a TCPStore, listens on every interface without a token. A single rank needs none.
Ranks on one node meet in a file that only this user can open, and communicate over loopback. Ranks
on several nodes use Ray's default: their network must be private.
"""

import os
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import ray
import torch.distributed as dist
from ray.train.torch.config import TorchConfig, _TorchBackend


@dataclass
class Rendezvous(TorchConfig):
    """A TorchConfig whose ranks on one node meet in `folder`, which all of them can read."""

    folder: str = ""

    @property
    def backend_cls(self) -> Any:
        return _Backend


class _Backend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        ranks = len(worker_group)
        if ranks == 1:
            return
        if len(set(worker_group.execute(_node))) > 1:
            super().on_start(worker_group, backend_config)
            return
        private = worker_group.execute_single(0, tempfile.mkdtemp, dir=backend_config.folder)
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU") else "gloo"
        meeting = (os.path.join(private, "ranks"), ranks, backend, backend_config.timeout_s)
        ray.get([worker_group.execute_single_async(i, _meet, i, *meeting) for i in range(ranks)])


def _node() -> str:
    return ray.get_runtime_context().get_node_id()


def _meet(rank: int, file: str, ranks: int, backend: str, timeout: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = _loopback()
    dist.init_process_group(
        backend,
        store=dist.FileStore(file, ranks),
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=timeout),
    )


def _loopback() -> str:
    """Return the loopback interface's name: `lo` on Linux, `lo0` on macOS."""
    found = psutil.net_if_addrs().items()
    return next(name for name, own in found if any(a.address == "127.0.0.1" for a in own))
