"""A space: tasks, data, budget. YAML in `spaces/`, composed by Hydra, then frozen.

    space = load("isic3", ["profile=smoke", "tasks.moco.lr_range=[0.01,0.03]"])
    space = load("isic3", ["data=folder", "modality=xray"])   # a preset at data.augment
    check_plugins(space)              # what only plug-ins know; imports torch

Hydra rejects a misspelt override but silently merges a misspelt key of a YAML file, so the
dataclasses of `schema.py` refuse unknown keys and check every value; what a file leaves out has
the value of `spaces/base.yaml` or the dataclass's default.
"""

from collections.abc import Collection, Sequence

from search.space.checks import check_used
from search.space.compose import SPACES, available_spaces, choices, composed, defaults
from search.space.schema import Downstream, ReportChoice, Space, TaskChoice
from trainables.errors import UserError
from trainables.plugins import load as plugin
from trainables.plugins import unknown
from trainables.schema import read, shown
from trainables.spec import DRAWN, EXTERNAL, FEATURES, PRETEXT, PROBE, START

__all__ = [
    "SPACES", "Downstream", "ReportChoice", "Space", "TaskChoice",
    "available_spaces", "check_plugins", "load",
]  # fmt: skip


def load(name: str, overrides: Sequence[str] = ()) -> Space:
    """Compose `spaces/NAME.yaml` with Hydra overrides; UserError, one line, if it is invalid."""
    if name not in available_spaces():
        raise UserError(unknown("--space", name, available_spaces()))
    space = read(Space, composed(name, overrides), usual=lambda: defaults(name, overrides))
    check_used(space, overrides)
    return space


def check_plugins(space: Space) -> None:
    """Raise UserError for what only plug-ins know: parameters, measures; imports torch."""
    for name, task in space.tasks.items():
        read(plugin("trainables.pretext", name).Params, task.params, f"tasks.{name}.params")
    for name, changed in space.data.augment["tasks"].items():
        used = plugin("trainables.pretext", name).augmentations
        for key in changed:
            if key not in used:
                raise UserError(_unused(f"data.augment.tasks.{name}.{key}", name, used))
    chosen = space.downstream
    kind = plugin("trainables.kinds", chosen.kind)
    if not kind.measures or chosen.kind in (PROBE, EXTERNAL, FEATURES):
        known = ", ".join(files := choices("downstream"))
        raise UserError(
            f"downstream.kind={chosen.kind}: must be a kind that scores chains, as {known}; "
            f"try downstream={files[0]}"
        )
    if "objective" in chosen.params:
        given = shown(chosen.params["objective"])
        raise UserError(
            f"downstream.params.objective={given}: must be left out, as downstream.objective is "
            f"the place for it; try downstream.objective={given}"
        )
    judges = [name for name in kind.measures if name not in kind.only_told]
    if chosen.objective not in judges:
        raise UserError(unknown("downstream.objective", chosen.objective, judges))
    for name in space.report.measures or ():
        if name not in kind.measures:
            raise UserError(unknown("report.measures", name, list(kind.measures)))
    params = {**chosen.params, "objective": chosen.objective}
    read(kind.Params, params, "downstream.params")
    if made := space.data.pool:
        maker = plugin("trainables.kinds", made.kind)
        if maker.measures or made.kind in (PRETEXT, START, DRAWN):
            raise UserError(
                f"data.pool.kind={made.kind}: must be a kind that makes a data set, as another "
                "package may bring; try data.pool=null"
            )
        read(maker.Params, made.params, "data.pool.params")


def _unused(where: str, task: str, used: Collection[str]) -> str:
    takes = f"only {', '.join(sorted(used))}" if used else "none of the modality's augmentations"
    return f"{where}: must be left out, as {task} uses {takes}; try without it"
