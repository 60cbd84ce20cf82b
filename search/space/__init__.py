"""A space: what is searched, on which data, how long. YAML in `spaces/`, composed, then frozen.

    space = load("isic3", ["profile=smoke", "tasks.moco.lr_range=[0.01,0.03]"])
    space = load("isic3", ["data=folder", "modality=xray"])   # a preset at data.augment
    check_tasks(space)                                        # imports torch: the tasks' own

Hydra rejects a misspelt override but merges a misspelt key of a YAML file without a word, so the
dataclasses of `schema.py` refuse what they don't know, and bound what they do.
"""

from collections.abc import Sequence
from functools import partial

from search.space.compose import SPACES, available_spaces, composed, defaults, params
from search.space.schema import (
    Baselines,
    Data,
    Downstream,
    Policy,
    Profile,
    ReportChoice,
    RuntimeChoice,
    Space,
    TaskChoice,
)
from trainables.errors import UserError
from trainables.plugins import load as plugin
from trainables.plugins import unknown
from trainables.schema import read

__all__ = [
    "SPACES", "Baselines", "Data", "Downstream", "Policy", "Profile", "ReportChoice",
    "RuntimeChoice", "Space",
    "TaskChoice", "available_spaces", "check_tasks", "load",
]  # fmt: skip


def load(name: str, overrides: Sequence[str] = ()) -> Space:
    """Compose `spaces/NAME.yaml` with Hydra overrides; UserError in one line if anything is off."""
    if name not in available_spaces():
        raise UserError(unknown("--space", name, available_spaces()))
    return read(Space, composed(name, overrides), usual=lambda: defaults(name, overrides))


def check_tasks(space: Space) -> None:
    """UserError if a task's own parameters are off; imports the tasks, which takes torch."""
    for name, task in space.tasks.items():
        kind = plugin("trainables.pretext", name)
        read(kind.Params, task.params, f"tasks.{name}.params", partial(params, "task", name))
