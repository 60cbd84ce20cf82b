"""Throughput of several pipelines in alternating turns, so that other work slows all alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import psutil
import torch

from trainables.bench.pipelines import Pipeline

TURNS = 3  # per pipeline
READ_EVERY = 10  # steps between readings of the losses, as in training


class Turn(NamedTuple):
    steps: int
    seconds: float
    waited: float  # seconds without data
    memory: int  # bytes


@dataclass(frozen=True)
class Measured:
    """The turns of one pipeline so far."""

    turns: list[float]  # images per second of each
    waiting: float  # fraction of the time without data, median of the turns
    memory: int  # bytes: on a GPU the pipeline's own peak, else of its processes (PSS)

    @property
    def images_per_second(self) -> float:
        return statistics.median(self.turns)

    def over(self, other: "Measured") -> float:
        """Return the median of the ratios, turn by turn."""
        pairs = zip(self.turns, other.turns, strict=False)  # the other may be one turn behind
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def plain(self) -> dict[str, object]:
        return {"rate": self.images_per_second, **asdict(self)}


def race(
    makers: Mapping[str, Callable[[], Pipeline]], batch: int, seconds: float, device: torch.device
) -> Iterator[tuple[str, dict[str, Measured]]]:
    """Yield after every turn the name of its pipeline and all measurements so far.

    makers: each builds a pipeline, when its first turn begins. batch: images per step. seconds: for
    all turns of one pipeline together.
    """
    pipelines: dict[str, Pipeline] = {}
    turns: dict[str, list[Turn]] = {}
    try:
        for _ in range(TURNS):
            for name, make in makers.items():
                if name not in pipelines:
                    before = _allocated(device)
                    pipelines[name] = make()
                    pipelines[name].kept = _allocated(device) - before
                done = turn(pipelines[name], seconds / TURNS, device)
                turns.setdefault(name, []).append(done)
                yield name, {name: _measured(made, batch) for name, made in turns.items()}
    finally:
        for pipeline in pipelines.values():
            pipeline.end()


def _measured(turns: list[Turn], batch: int) -> Measured:
    waiting = statistics.median(one.waited / one.seconds for one in turns)
    speeds = [one.steps * batch / one.seconds for one in turns]
    return Measured(speeds, waiting, max(one.memory for one in turns))


def turn(pipeline: Pipeline, seconds: float, device: torch.device) -> Turn:
    """Train at least one step, and until `seconds` have passed, after warm-up steps."""
    before = _allocated(device)
    pipeline.open()
    for _ in range(pipeline.warm):
        pipeline.step()
    _finish(device)
    waited, begun = pipeline.waited, time.perf_counter()
    losses: list[torch.Tensor] = []
    while not losses or time.perf_counter() - begun < seconds:
        losses.append(pipeline.step()["loss"])
        if len(losses) % READ_EVERY == 0:
            torch.stack(losses).tolist()
    _finish(device)
    spent, memory = time.perf_counter() - begun, _memory(device, pipeline)
    waited = pipeline.waited - waited
    pipeline.close()
    if device.type == "cuda":
        memory += pipeline.kept - before
        pipeline.kept += _allocated(device) - before
    return Turn(len(losses), spent, waited, memory)


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device, pipeline: Pipeline) -> int:
    """Return the bytes in use; on a GPU the peak since the last call."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return peak
    return sum(one.memory_full_info().pss for one in [psutil.Process(), *pipeline.workers])
