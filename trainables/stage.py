"""One stage: train a pretext task from the parent's backbone. Runs without Ray.

train_stage(spec, Runtime(), open_cache(folder), None, Path("out"), report=print)
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from trainables import plugins
from trainables.backbone import Backbone
from trainables.images.cache import Prepared
from trainables.spec import Runtime, StageSpec
from trainables.task import Context, Task
from trainables.training import distributed
from trainables.training.loop import Loop, Report
from trainables.workers.job import SAVING, Heartbeat

BACKBONE, HISTORY = "backbone.safetensors", "history.json"


def train_stage(
    spec: StageSpec,
    runtime: Runtime,
    data: Prepared,
    parent_dir: Path | None,
    out_dir: Path,
    report: Report,
) -> dict[str, Any]:
    """Train the stage to its end, resuming from a checkpoint in `out_dir` if there is one.

    Writes backbone.safetensors (torchvision's keys) and history.json to `out_dir`; returns the
    result: loss, lr, lr_at_edge, images_per_second, seconds, ... parent_dir: None for scratch.
    Raises StageFailed with the reason, UserError for a batch above the data, Stopped if `report`
    answers True.
    """
    kind = plugins.load("trainables.pretext", spec.pretext)

    def make(context: Context) -> Task:
        backbone = Backbone(spec.training.backbone, context.channels)
        load_backbone(backbone, parent_dir)
        return kind(backbone, spec.params, context)

    loop = Loop(
        make, spec.training, data, data.split["train"], spec.augment, spec.seed, runtime, out_dir,
        report,
    )  # fmt: skip
    outcome = loop.train()
    if distributed.rank() == 0:
        report(Heartbeat(SAVING))
        save(outcome.task.backbone, out_dir / BACKBONE)
        (out_dir / HISTORY).write_text(json.dumps(outcome.history))
    return outcome.result


def load_backbone(backbone: Backbone, folder: Path | None) -> None:
    """Load weights and BatchNorm statistics of the stage in `folder`; None changes nothing."""
    if folder is not None:
        backbone.load_state_dict(load_file(folder / BACKBONE))


def save(module: nn.Module, path: Path) -> None:
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file(state, path)
