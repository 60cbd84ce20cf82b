"""A space: what is searched, on which data, how long. YAML in `spaces/`, composed, then frozen.

    space = load("isic3", ["profile=smoke", "tasks.moco.lr_range=[0.01,0.03]"])
    space = load("isic3", ["data=folder", "modality=xray"])   # a preset at data.augment

Hydra rejects a misspelt override but merges a misspelt key of a YAML file without a word, so the
dataclasses here refuse what they don't know. The only importer of hydra and omegaconf.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from search.budget import Budget
from search.chain import Chain, enumerate_chains
from trainables.errors import UserError
from trainables.plugins import unknown

SPACES = Path(__file__).resolve().parent.parent / "spaces"
MODALITY = "modality@data.augment"  # the group at its place, as Hydra wants it named
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class TaskChoice:
    """One pretext task with its LR range; `params` are the task's own."""

    __pydantic_config__ = STRICT
    name: str
    version: str
    params: dict[str, Any]
    lr_range: tuple[float, ...]
    optimizer: Literal["sgd", "adamw", "lars"]
    weight_decay: float


@dataclass(frozen=True)
class Data:
    """A data set: the plug-in's name, where it lies, the splits, the modality (`augment`)."""

    __pydantic_config__ = STRICT
    name: str
    root: str | None
    params: dict[str, Any]
    channels: Literal[1, 3]
    val: float
    test: float
    augment: dict[str, Any]
    merge_duplicates: bool = False


@dataclass(frozen=True)
class Downstream:
    """The labelled task: class-balanced loss or plain, cheap probes or none."""

    __pydantic_config__ = STRICT
    version: str
    lr_range: tuple[float, ...]
    optimizer: Literal["sgd", "adamw"]
    weight_decay: float
    class_balanced: bool
    probes: bool


@dataclass(frozen=True)
class Profile:
    """How large and how long. Lengths in epochs, sizes in pixels, batches over all workers."""

    __pydantic_config__ = STRICT
    name: str
    backbone: str
    image_size: int
    cache_size: int
    precision: Literal["auto", "float32", "bfloat16"]
    bn_groups: int
    batch: int
    epochs: float
    lr_epochs: float
    warmup: float
    downstream_batch: int
    downstream_epochs: float
    downstream_lr_epochs: float
    label_fraction: float
    images_per_second: float  # of one worker, for the plan's estimate until something was measured


@dataclass(frozen=True)
class Policy:
    """Which chains are tried, in which order."""

    __pydantic_config__ = STRICT
    name: str
    params: dict[str, Any]


@dataclass(frozen=True)
class RuntimeChoice:
    """Where it runs: workers a stage; groups at a time, threads a worker (null: what fits)."""

    __pydantic_config__ = STRICT
    workers: int
    groups: int | None
    groups_per_gpu: int | None
    threads: int | None
    log_every: int
    checkpoint_seconds: float
    attempts: int


@dataclass(frozen=True)
class Baselines:
    """`scratch` is always run; ImageNet from a local safetensors or weights-only .pth file."""

    __pydantic_config__ = STRICT
    imagenet: str | None


@dataclass(frozen=True)
class ReportChoice:
    """share_images: pictures and names go to the tracker; null: not to a remote one."""

    __pydantic_config__ = STRICT
    share_images: bool | None = None


@dataclass(frozen=True)
class Space:
    """Everything one search needs; plain values all the way down.

    early_stop: margin in points; a chain whose fine-tuning can't come that near to the best chain
    is stopped (search/stopping.py). None: none is.
    """

    __pydantic_config__ = STRICT
    name: str
    tasks: dict[str, TaskChoice]
    max_length: int
    lr_policy: Literal["halving", "full_range", "optuna"]
    seed: int
    repeats: int  # seeds that the best chains are trained with
    budget: Annotated[Budget, BeforeValidator(Budget.parse)]
    early_stop: float | None
    store: str
    cache: str
    data: Data
    downstream: Downstream
    profile: Profile
    policy: Policy
    runtime: RuntimeChoice
    baselines: Baselines
    report: ReportChoice = ReportChoice()

    def chains(self) -> list[Chain]:
        """Every chain of the space, shorter ones first."""
        return list(enumerate_chains(tuple(self.tasks), self.max_length))

    def __post_init__(self) -> None:
        for check in (_check_tasks, _check_sizes, _check_pixels, _check_rates, _check_runtime):
            check(self)


def available_spaces() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in SPACES.glob("*.yaml")))


def load(name: str, overrides: Sequence[str] = ()) -> Space:
    """Compose `spaces/NAME.yaml` with Hydra overrides; UserError in one line if anything is off."""
    if name not in available_spaces():
        raise UserError(unknown("spaces", name, available_spaces()))
    raw = _compose(name, overrides)
    _check_params(raw)
    try:
        return TypeAdapter(Space).validate_python(raw)
    except ValidationError as error:
        raise UserError(f"spaces/{name}.yaml: {_first_line(error)}") from None


def _compose(name: str, overrides: Sequence[str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    def composed(chosen: Sequence[str]) -> dict[str, Any]:
        with initialize_config_dir(version_base="1.3", config_dir=str(SPACES)):
            config = compose(name, overrides=[_placed(override) for override in chosen])
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    try:
        return composed(overrides)
    except (HydraException, OmegaConfBaseException) as error:
        groups = [o for o in overrides if "@" not in o and _folder(o).is_dir() and _group_known(o)]
        for override in overrides:
            _explain(override, composed(groups))
        raise UserError(f"spaces/{name}.yaml: {str(error).splitlines()[0]}") from None


def _placed(override: str) -> str:
    return re.sub(r"^modality=", f"{MODALITY}=", override)


def _folder(override: str) -> Path:
    """`spaces/data` of `data=demo`, `spaces/task` of `task@tasks.moco=moco`."""
    return SPACES / re.split("[@=]", override)[0]


def _group_known(override: str) -> bool:
    return (_folder(override) / f"{override.partition('=')[2]}.yaml").exists()


def _explain(override: str, config: dict[str, Any]) -> None:
    """Raise the one line that says what is wrong with this override, if it is this one."""
    path, _, value = override.partition("=")
    folder = _folder(override)
    if folder.is_dir():
        if not _group_known(override):
            known = tuple(sorted(p.stem for p in folder.glob("*.yaml")))
            raise UserError(
                f"override {override}: " + unknown(f"spaces/{folder.name}", value, known)
            )
        path = path.partition("@")[2]
    node: Any = {**config, "modality": None}
    for part in path.lstrip("+~").split(".") if path else ():
        if not isinstance(node, Mapping) or part not in node:
            known = tuple(map(str, node)) if isinstance(node, Mapping) else ()
            raise UserError(f"override {override}: " + unknown("the space", part, known))
        node = node[part]


def _check_params(raw: dict[str, Any]) -> None:
    """Keys of `params` are those of the plug-in's own YAML file, of `augment` a modality's."""
    chosen = [("data", raw.get("data")), ("policy", raw.get("policy"))]
    chosen += [("task", task) for task in (raw.get("tasks") or {}).values()]
    for group, node in chosen:
        path = SPACES / group / f"{(node or {}).get('name')}.yaml"
        if node and path.exists():
            known = _yaml(path).get("params") or {}
            _check_keys(f"{group} {node['name']}: params", node.get("params"), known)
    presets = [_yaml(path) for path in sorted((SPACES / "modality").glob("*.yaml"))]
    _check_keys("data.augment", (raw.get("data") or {}).get("augment"), presets[0])


def _check_keys(where: str, given: Any, known: Mapping[str, Any]) -> None:
    for key in given if isinstance(given, Mapping) else ():
        if key not in known:
            raise UserError(unknown(where, str(key), tuple(known)))


def _yaml(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict), path
    return {str(key): value for key, value in plain.items()}


def _first_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *parents, key = map(str, first["loc"])
        known = _fields_at(parents)
        return unknown(".".join(parents) or "the space", key, known)
    if first["type"] in ("missing", "missing_argument"):
        return f"{where} is missing; it has no default"
    came = re.sub(r"\s+", " ", repr(first.get("input")))[:80]
    return f"{where}: {first['msg']}, came {came}"


def _fields_at(parents: Sequence[str]) -> tuple[str, ...]:
    kinds = {"data": Data, "downstream": Downstream, "profile": Profile, "policy": Policy}
    kinds |= {"runtime": RuntimeChoice, "baselines": Baselines, "tasks": TaskChoice}
    kinds |= {"report": ReportChoice}
    kind: Any = kinds.get(parents[0], Space) if parents else Space
    return tuple(field.name for field in fields(kind))


def _check_tasks(space: Space) -> None:
    for key, task in space.tasks.items():
        if key != task.name:
            raise UserError(f"tasks.{key}: its name is {task.name!r}; a task is keyed by its name")
    if not 1 <= space.max_length <= len(space.tasks):
        raise UserError(
            f"max_length: came {space.max_length}, allowed 1 to {len(space.tasks)}, "
            f"the number of tasks ({', '.join(space.tasks)})"
        )
    if space.repeats < 1:
        raise UserError(f"repeats: came {space.repeats}; want a number of seeds, 1 or more")
    if space.early_stop is not None and not math.isfinite(space.early_stop):
        raise UserError(f"early_stop: came {space.early_stop}; want a margin in points, or null")


def _check_sizes(space: Space) -> None:
    profile = space.profile
    for key, value in vars(profile).items():
        if isinstance(value, int | float) and key != "warmup" and not value > 0:
            raise UserError(f"profile.{key}: came {value}; want more than 0")
    if not 0 <= profile.warmup < 1:
        raise UserError(f"profile.warmup: came {profile.warmup}; want 0 <= x < 1")
    for key in ("batch", "downstream_batch"):
        if getattr(profile, key) % profile.bn_groups:
            raise UserError(
                f"profile.{key}: came {getattr(profile, key)}; want a multiple of "
                f"profile.bn_groups = {profile.bn_groups}"
            )
    if not 0 < profile.label_fraction <= 1:
        raise UserError(f"profile.label_fraction: came {profile.label_fraction}; want 0 < x <= 1")
    if min(space.data.val, space.data.test) <= 0 or space.data.val + space.data.test >= 1:
        raise UserError(
            f"data.val, data.test: came {space.data.val}, {space.data.test}; "
            "want both above 0 and their sum below 1"
        )


def _check_pixels(space: Space) -> None:
    for key, least in (("mean", 0.0), ("std", 1e-3)):
        came, channels = space.data.augment.get(key), space.data.channels
        if came is None:
            continue
        numbers = isinstance(came, list | tuple) and len(came) == channels
        if not numbers or not all(isinstance(v, int | float) and least <= v <= 1 for v in came):
            raise UserError(
                f"data.augment.{key}: came {came}; want {channels} numbers from {least:g} to 1, "
                "one a channel, or null: measured on the training images"
            )


def _check_rates(space: Space) -> None:
    ranges = {f"tasks.{name}.lr_range": task.lr_range for name, task in space.tasks.items()}
    ranges["downstream.lr_range"] = space.downstream.lr_range
    for where, rates in ranges.items():
        if not rates or min(rates) <= 0 or list(rates) != sorted(set(rates)):
            raise UserError(
                f"{where}: came {list(rates)}; want rates above 0 that rise, "
                f"as in {sorted({abs(r) for r in rates if r}) or [0.01, 0.03]}"
            )


def _check_runtime(space: Space) -> None:
    workers, groups = space.runtime.workers, space.profile.bn_groups
    if workers < 1 or groups % workers:
        allowed = [n for n in range(1, groups + 1) if groups % n == 0]
        raise UserError(
            f"runtime.workers: came {workers}; profile.bn_groups = {groups} allows "
            f"{', '.join(map(str, allowed))} (raise profile.bn_groups for more)"
        )
    for key, value in vars(space.runtime).items():
        least = 0 if key == "checkpoint_seconds" else 1
        if key not in ("workers", "groups_per_gpu") and value is not None and not value >= least:
            raise UserError(f"runtime.{key}: came {value}; want {least} or more")
    shared = space.runtime.groups_per_gpu
    if shared is not None and (shared < 1 or (shared > 1 and workers > 1)):
        raise UserError(
            f"runtime.groups_per_gpu: came {shared}; allowed 1 or more, and with "
            f"runtime.workers={workers} only 1 or null: ranks of one group can't share a GPU"
            if workers > 1
            else f"runtime.groups_per_gpu: came {shared}; allowed 1 or more, or null: measured"
        )
