"""Throughput of several pipelines in short turns: other work on the machine slows all alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import psutil
import torch

from trainables.bench.pipelines import Pipeline

TURNS = 3  # of each pipeline
READ_EVERY = 10  # steps between readings of the losses, as in training


@dataclass(frozen=True)
class Measured:
    """Medians over turns."""

    rates: list[float]  # images/s of each turn
    waiting: float  # share of the time without data
    memory: int  # bytes: on a GPU its own at most; else its processes' (PSS)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def over(self, other: "Measured") -> float:
        """The ratio of the rates, turn by turn."""
        pairs = zip(self.rates, other.rates, strict=False)  # the other's last turn may be to come
        return statistics.median(mine / theirs for mine, theirs in pairs)


def race(
    makers: Mapping[str, Callable[[], Pipeline]], batch: int, seconds: float, device: torch.device
) -> Iterator[tuple[str, dict[str, Measured]]]:
    """After every turn, whose it was and the measurements so far.

    makers: called when their first turn comes. seconds: of each pipeline, in all its turns.
    """
    pipelines: dict[str, Pipeline] = {}
    turns: dict[str, list[tuple[float, float, int]]] = {name: [] for name in makers}
    try:
        for _ in range(TURNS):
            for name, make in makers.items():
                if name not in pipelines:
                    pipelines[name] = built(make, device)
                steps, spent, waited, used = turn(pipelines[name], seconds / TURNS, device)
                turns[name].append((steps * batch / spent, waited / spent, used))
                yield name, {name: _measured(made) for name, made in turns.items() if made}
    finally:
        for pipeline in pipelines.values():
            pipeline.end()


def _measured(turns: list[tuple[float, float, int]]) -> Measured:
    rates, waiting, memory = zip(*turns, strict=True)
    return Measured(list(rates), statistics.median(waiting), max(memory))


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
    spent, used = time.perf_counter() - begun, _memory(device, pipeline)
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


def _memory(device: torch.device, pipeline: Pipeline) -> int:
    """Bytes, the peak since the last call on a GPU."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return sum(one.memory_full_info().pss for one in [psutil.Process(), *pipeline.workers])
