"""Time ten training steps of stages on random images, in a process of its own.

    PYTHONPATH=. python -m trainables.timing QUESTION ANSWER

QUESTION: a pickled `Question`. ANSWER: the file to write, a pickled `Timed` or the reason why there
is none for every stage. Nothing else is written but in QUESTION's folder.
"""

import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch

from trainables.errors import StageFailed, UserError, first_line
from trainables.images.cache import Prepared
from trainables.kinds import KINDS, Work
from trainables.plugins import load
from trainables.spec import IMAGES, MASKS, POOL, PRETEXT, Runtime, StageSpec
from trainables.training.lengths import FITTED
from trainables.workers.job import Heartbeat

WARM, STEPS = 2, 10  # steps before the timed ones, timed steps
FEWEST, VALIDATION, CLASSES = 250, 64, 4  # images drawn to train on, to evaluate; their classes
EVERY = 2  # steps between heartbeats; divides both


@dataclass(frozen=True)
class Question:
    """Stages to time, with the side and channels of the cached images and the CPU threads."""

    specs: tuple[StageSpec, ...]
    size: int
    channels: int
    threads: int


@dataclass(frozen=True)
class Timed:
    """Seconds a training step, an evaluated image, and a training image once a stage."""

    step: float
    evaluated: float
    image: float


def answer(question: Question, folder: Path) -> list[Timed | str]:
    """Return what was measured of every stage, or in one line why it was not."""
    torch.set_num_threads(question.threads)
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    runtime = Runtime(device, question.threads, EVERY)
    _tried(question.specs[0], question, runtime, folder / "warm", WARM)  # imports, first kernels
    return [_tried(spec, question, runtime, folder, WARM + STEPS) for spec in question.specs]


def _tried(
    spec: StageSpec, question: Question, runtime: Runtime, folder: Path, steps: int
) -> Timed | str:
    try:
        data = drawn(images(spec), question.size, question.channels)
        return timed(_run(spec, data, steps, runtime, folder / spec.key()), len(data.labels))
    except (StageFailed, UserError, RuntimeError, ValueError, OSError) as error:
        return first_line(error)


def images(spec: StageSpec) -> int:
    """Return how many images to train on: no epoch ends among the timed steps of a fine-tuning."""
    if spec.training is None:
        return FEWEST
    batches = 4 if spec.kind == PRETEXT else WARM + STEPS
    return max(FEWEST, batches * spec.training.global_batch)


def drawn(count: int, size: int, channels: int) -> Prepared:
    """Return random images, `count` of them to train on; every image is a patient."""
    total = count + 2 * VALIDATION
    pixels = np.random.default_rng(0).integers(256, size=(total, size, size, channels))
    names = tuple(f"{row}" for row in range(total))
    return Prepared(
        names=names, labels=np.arange(total) % CLASSES, groups=names,
        classes=tuple(f"class {k}" for k in range(CLASSES)), images=pixels.astype(np.uint8),
        split={
            "train": np.arange(count),
            "val": np.arange(count, count + VALIDATION),
            "test": np.arange(count + VALIDATION, total),
        },
        duplicates=(), merged=False, mean=(0.5,) * channels, std=(0.3,) * channels, digest="",
        name="random", demo=True,
    )  # fmt: skip


Beats = Sequence[tuple[float, Heartbeat]]


def _run(spec: StageSpec, data: Prepared, steps: int, runtime: Runtime, out: Path) -> Beats:
    """Do a stage of `steps` steps; return its heartbeats with their times, first and last empty."""
    out.mkdir(parents=True)
    beats = [(time.perf_counter(), Heartbeat())]
    work = Work(
        spec=_short(spec, steps),
        runtime=runtime,
        out=out,
        report=lambda beat: beats.append((time.perf_counter(), beat)),
        data={IMAGES: data, POOL: data, MASKS: replace(data, images=data.images[..., :1])},
    )
    load(KINDS, spec.kind)().run(work)
    return [*beats, (time.perf_counter(), Heartbeat())]


def _short(spec: StageSpec, steps: int) -> StageSpec:
    """Return the stage from scratch on all labels, with one learning rate."""
    params = {**spec.params} | ({"fraction": 1.0} if "fraction" in spec.params else {})
    if (training := spec.training) is None:
        return replace(spec, params=params, inputs={})
    short = replace(
        training,
        steps=steps,
        fraction=1.0,
        lr=replace(training.lr, range=training.lr.range[:1], judge="pretext"),
        curve=0,
    )
    return replace(spec, params=params, inputs={}, training=short)


def timed(beats: Beats, count: int) -> Timed:
    """Read a stage's heartbeats. count: images drawn, all parts together."""
    begun, ended = beats[0][0], beats[-1][0]
    at: dict[int, float] = {}
    for moment, beat in beats:
        if beat.step is not None:
            at.setdefault(beat.step, moment)
    if not {0, WARM, WARM + STEPS} <= at.keys():
        return Timed(0.0, 0.0, (ended - begun) / (count - 2 * VALIDATION))
    timed_at = sorted((number, moment) for number, moment in at.items() if number >= WARM)
    step = median((b - a) / (k - j) for (j, a), (k, b) in pairwise(timed_at))  # other work stalls
    curves = [moment for moment, beat in beats if beat.curve]
    evaluation = curves[-1] - at[WARM + STEPS] if curves else 0.0
    start = max(at[WARM] - at[0] - WARM * step, 0.0)
    trained = count - 2 * VALIDATION
    return Timed(step, evaluation / (VALIDATION + min(FITTED, trained)), start / trained)


def main() -> None:
    question, target = Path(sys.argv[1]), Path(sys.argv[2])
    target.with_suffix(".d").mkdir()
    found = answer(pickle.loads(question.read_bytes()), target.with_suffix(".d"))
    target.write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    from trainables.timing import main as imported  # so that the pickled types have one name

    imported()
