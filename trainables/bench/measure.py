"""Rates of several pipelines from short turns: what else the machine does hits all alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil
import torch

from trainables.bench.pipelines import Pipeline

TURNS = 5  # of each pipeline
READ_EVERY = 10  # steps between readings of the losses, as in training


@dataclass(frozen=True)
class Measured:
    """Medians over turns."""

    rates: list[float]  # images/s of each turn
    waiting: float  # share of the time without data
    memory: int  # bytes: on a GPU its own at most; else those of all processes (PSS)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def over(self, other: "Measured") -> float:
        """The ratio of the rates, turn by turn."""
        pairs = zip(self.rates, other.rates, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def race(
    pipelines: dict[str, Pipeline], batch: int, seconds: float, device: torch.device
) -> dict[str, Measured]:
    """seconds: of each pipeline, in all its turns."""
    rates: dict[str, list[float]] = {name: [] for name in pipelines}
    waiting: dict[str, list[float]] = {name: [] for name in pipelines}
    memory = dict.fromkeys(pipelines, 0)
    for _ in range(TURNS):
        for name, pipeline in pipelines.items():
            steps, spent, waited, used = turn(pipeline, seconds / TURNS, device)
            rates[name].append(steps * batch / spent)
            waiting[name].append(waited / spent)
            memory[name] = max(memory[name], used)
    return {
        name: Measured(rates[name], statistics.median(waiting[name]), memory[name])
        for name in pipelines
    }


def turn(pipeline: Pipeline, seconds: float, device: torch.device) -> tuple[int, float, float, int]:
    """Steps made, seconds spent, seconds waited for data, bytes used."""
    held = _allocated(device)
    pipeline.open()
    for _ in range(pipeline.warm):
        pipeline.step()
    _finish(device)
    before, begun, steps = pipeline.waited, time.perf_counter(), 0
    rows: list[torch.Tensor] = []
    while not rows or time.perf_counter() - begun < seconds:
        rows.append(pipeline.step()["loss"])
        steps += 1
        if steps % READ_EVERY == 0:
            torch.stack(rows).tolist()
    _finish(device)
    spent, used = time.perf_counter() - begun, _memory(device)
    waited = pipeline.waited - before
    pipeline.close()
    if device.type == "cuda":
        used += pipeline.held - held
        pipeline.held += _allocated(device) - held
    return steps, spent, waited, used


def built(make: Callable[[], Pipeline], device: torch.device) -> Pipeline:
    """A pipeline that knows what it holds of a GPU between its turns."""
    before = _allocated(device)
    pipeline = make()
    pipeline.held = _allocated(device) - before
    return pipeline


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    """Bytes, the peak since the last call on a GPU."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    here = psutil.Process()
    return sum(process.memory_full_info().pss for process in [here, *here.children(recursive=True)])
