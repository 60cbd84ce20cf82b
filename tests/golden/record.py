"""The losses that every training loop gave when its numbers were last agreed upon.

    python -m tests.golden.record [NAME ...]    # after a change that is meant to change them

Each file beside this one holds the losses of ten steps on the built-in images, and the version of
the code that gave them. At usual rates two processors' rounding errors grow tenfold with every step
on so small a network; at RATES they stay below the tolerance, and what training changes in the
losses stays well above it. Who changes the numbers raises `Plugin.version`, records them anew and
says so in the commit.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from search.chains.chain import Chain
from search.chains.images import masks_spec
from search.chains.node import Node
from tests.trainables import small
from trainables.images.pool import opened
from trainables.kinds import KINDS, Work
from trainables.kinds.pretext import train_stage
from trainables.plugins import load
from trainables.spec import IMAGES, MASKS, Runtime
from trainables.workers.job import Heartbeat

HERE = Path(__file__).parent
SEGMENT = "segment"
DOWNSTREAM = ("classify", SEGMENT)
NAMES = (*small.TASKS, *DOWNSTREAM)
STEPS = 10
RATES = dict.fromkeys(NAMES, 16e-4) | {  # for a batch of 256
    "mim": 16e-5,  # AdamW moves every weight by as much, whatever its gradient
    "moco": 8e-4,
    "odc": 16e-3,
    "relative_location": 48e-5,
    "rotation": 48e-5,
    "swav": 48e-5,
}


def measure(name: str, cache: Path) -> dict[str, Any]:
    """Version and losses of the task, or of fine-tuning from scratch, step by step."""
    torch.set_num_threads(1)
    data, runtime = small.prepared(cache), Runtime(threads=1, log_every=1)
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        if name in DOWNSTREAM:
            given = f"downstream={name}", f"downstream.lr_range=[{RATES[name]}]"
            plan, roles = small.plan(data, *given), {IMAGES: data}
            if name == SEGMENT:
                roles[MASKS] = opened(masks_spec(plan.space), [None, None], cache)
                plan = replace(plan, masks=roles[MASKS].digest)
            score = plan.score(Node.parse("scratch"))
            work = Work(score, runtime, Path(folder), lambda p: _keep(seen, p), roles)
            load(KINDS, name)().run(work)
            return {"version": score.version, "losses": seen[:STEPS]}
        rate = f"tasks.{name}.lr_range=[{RATES[name]}]"
        plan = small.plan(data, rate, f"profile.steps={STEPS}")
        stage = plan.stages(Node(Chain((name,))))[0]
        unlabelled = small.unlabelled(data)
        train_stage(stage, runtime, unlabelled, None, Path(folder), lambda p: _keep(seen, p))
    return {"version": stage.version, "losses": seen}


def _keep(seen: list[float], heartbeat: Heartbeat) -> None:
    if heartbeat.loss is not None:
        seen.append(heartbeat.loss)


def read(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as cache:
        for name in sys.argv[1:] or NAMES:
            text = json.dumps(measure(name, Path(cache)), indent=1)
            (HERE / f"{name}.json").write_text(text + "\n")
            print(name, text)
