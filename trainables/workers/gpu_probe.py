"""Measure what one worker needs of a device: its memory, and its speed beside other workers.

    probe = Probe(stages, data_spec, data_root, cache_root)
    used, total = probe.footprint()
    probe.pace(seconds=3)                  # images/s

Each probe runs in its own process, as a worker does; search/cluster/gpu_sharing.py starts it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import torch

from trainables.images.cache import open_cache, prepare
from trainables.kinds.pretext import started
from trainables.spec import DataSpec, StageSpec
from trainables.training.feed import Feed
from trainables.training.step import Step

WARM = 3  # steps until memory and kernels are stable
READ_EVERY = 10  # steps between readings of the losses, as in training


class Probe:
    """A worker's training steps without a search around them."""

    def __init__(
        self, stages: Sequence[StageSpec], data: DataSpec, root: str | None, cache: str
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        folder = prepare(data, Path(root) if root else None, Path(cache))
        self.stages, self.data, self.done = stages, open_cache(folder), 0
        self.feed: Feed
        self.step: Step

    def footprint(self) -> tuple[int, int]:
        """Train a few steps of every stage; return the device's used (by all) and total bytes."""
        for stage in self.stages:
            self._build(stage)
            self._run(WARM)
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            return total - free, total
        memory = psutil.virtual_memory()
        return memory.total - memory.available, memory.total

    def pace(self, seconds: float) -> float:
        """Return images/s of the last stage."""
        begun, before = time.perf_counter(), self.done
        while time.perf_counter() - begun < seconds:
            self._run(READ_EVERY)
        return (self.done - before) * self.feed.global_batch / (time.perf_counter() - begun)

    def _build(self, stage: StageSpec) -> None:
        self.step, self.feed = started(stage, self.data, self.device)
        self.done = 0

    def _run(self, steps: int) -> None:
        """Train some steps; the schedule restarts where the measurement outlasts it."""
        losses = []
        for _ in range(steps):
            batch = self.feed.batch(self.done % self.step.steps)
            losses.append(self.step(batch)["loss"])
            self.done += 1
        torch.stack(losses).tolist()
