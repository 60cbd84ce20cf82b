"""Hydra: from `spaces/NAME.yaml` and overrides to plain values. The only importer of hydra.

Hydra's errors take several lines; `_explain` replaces them by one.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from search.space import merged
from search.space.schema import OBJECTIVES, Space
from trainables.architectures import ARCHITECTURES
from trainables.errors import UserError
from trainables.modality import Preset
from trainables.plugins import available, folders, load, one_of, unknown
from trainables.schema import Section, keys, shown, value_at

SPACES = Path(__file__).resolve().parents[2] / "spaces"
BASE = "base.yaml"  # what spaces share; no space itself
MODALITY = "modality@data.augment"  # Hydra's name for the choice and its place
PACKAGES = {
    "tasks": "trainables.pretext", "data": "trainables.data", "policy": "search.policies",
    "downstream": "trainables.kinds",
}  # fmt: skip
KEY = re.compile(r"(\+\+|\+|~)?(?!hydra\b)[A-Za-z_][\w./]*(@[\w.]+)?")  # of an override


def available_spaces() -> tuple[str, ...]:
    return choices("")


def composed(name: str, overrides: Sequence[str]) -> Section:
    """Compose plain values; UserError if the YAML files and overrides can't be composed.

    Where no file and no override names an objective, the labels decide it.
    """
    found = _composed(name, overrides)
    tuned, labels = found.get("downstream"), value_at(found, ["data", "params", "labels"])
    if isinstance(tuned, dict) and tuned.get("objective") is None:
        tuned["objective"] = OBJECTIVES["many" if labels == "many" else "one"]
    found["starts"] = _whole_starts(found.get("starts"), name, overrides)
    if _has_table(name, overrides):
        found = merged.whole(found, sources(name, overrides))
    return merged.changed(found, adapted(found, name, overrides))


def _has_table(name: str, overrides: Sequence[str]) -> bool:
    """Return whether a table of lengths may have been merged into that of a task's file."""
    text = (SPACES / f"{name}.yaml").read_text("utf-8")
    return any("steps={" in one for one in overrides) or "steps:" in text


def adapted(found: Section, name: str, overrides: Sequence[str]) -> list[merged.Told]:
    """Return what replaces values of the files, as they don't suit the backbone."""
    if value_at(found, ["profile", "backbone"]) in ARCHITECTURES:
        return []
    return [*merged.suited(found, sources(name, overrides))]


def _whole_starts(starts: Any, name: str, overrides: Sequence[str]) -> Any:
    """Return the starts; `starts.imagenet=FILE` keeps what the space's section says besides."""
    single = [key for key in starts or () if _given(f"starts.{key}", overrides)]
    if not single or not isinstance(starts, dict):
        return starts
    files = defaults(name, overrides).get("starts", {})
    return starts | {
        key: {**files[key], "weights": starts[key]}
        for key in single
        if isinstance(files.get(key), dict) and not isinstance(starts[key], dict)
    }


def _given(key: str, overrides: Sequence[str]) -> bool:
    return any(one.lstrip("+").startswith(f"{key}=") for one in overrides)


def _composed(name: str, overrides: Sequence[str]) -> Section:
    for override in overrides:
        _check(override)
    with suppress(*_broken()):
        return _by_hydra(name, overrides)
    _check_files(name)
    known = _known(name, overrides)
    for override in overrides if known else ():
        _explain(override, known)
    # The files may leave out keys that the dataclasses know.
    added = [o if _group(o) or o[0] in "+~" else f"++{o}" for o in overrides]
    try:
        return _by_hydra(name, added)
    except _broken() as error:
        reason, file = " ".join(str(error).split())[:200], f"spaces/{name}.yaml"
        found = _culprit(name, added).removeprefix("++")
        where, whole = (found, file) if overrides else (file, "the files it names")
        raise UserError(f"{where}: must fit {whole} ({reason}); try without it") from None


def _culprit(name: str, overrides: Sequence[str]) -> str:
    """Return the first override that can't be composed with those before it; choices come first."""
    ordered = sorted(overrides, key=lambda override: not _group(override))
    for number, override in enumerate(ordered):
        try:
            _by_hydra(name, ordered[: number + 1])
        except _broken():
            return override
    return " ".join(overrides)


def _broken() -> tuple[type[Exception], ...]:
    """Return the exceptions that Hydra raises for bad files and overrides."""
    import yaml
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    hydra = (HydraException, OmegaConfBaseException, yaml.YAMLError)
    return (*hydra, OSError, ValueError, AssertionError, RecursionError)


def _known(name: str, overrides: Sequence[str]) -> Section:
    """Return all known keys; {} if the space itself is broken."""
    for chosen in (overrides, ()):
        with suppress(*_broken()):
            return defaults(name, chosen)
    return {}


def defaults(name: str, overrides: Sequence[str] = ()) -> Section:
    """Compose with the chosen files only (`data=demo`), without overrides of single values."""
    return _by_hydra(name, [o for o in overrides if _group(o) and not o.startswith("~")])


def sources(name: str, overrides: Sequence[str]) -> list[tuple[str, str, Any]]:
    """What Hydra merges, in order: a file or override, the dotted path it sets, the value."""
    import hydra
    import yaml
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.types import RunMode

    placed = [_placed(override) for override in overrides]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(SPACES)):
        loader = GlobalHydra.instance().config_loader()
        merged = loader.compute_defaults_list(name, [_search_path(), *placed], RunMode.RUN).defaults
    known = {
        str(path.relative_to(folder).with_suffix("")): path
        for folder in (*folders(), SPACES)
        for path in (*folder.glob("*.yaml"), *folder.glob("*/*.yaml"))
    }
    named = [(one.config_path or "", one.package or "") for one in merged]
    files = [
        (f"spaces/{file}.yaml", at, yaml.safe_load(known[file].read_text("utf-8")))
        for file, at in named
        if file in known  # the others are Hydra's own
    ]
    single = OverridesParser.create().parse_overrides([o for o in placed if not _group(o)])
    given = [one for one in single if not one.is_delete()]
    return files + [(one.input_line or "", one.key_or_group, one.value()) for one in given]


def _by_hydra(name: str, overrides: Sequence[str]) -> Section:
    import hydra
    from omegaconf import OmegaConf

    placed = [_search_path(), *map(_placed, overrides)]
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(SPACES)):
        config = hydra.compose(name, overrides=placed)
    plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _search_path() -> str:
    """Return the override that adds the YAML files of other packages."""
    return f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in folders())}]"


def _placed(override: str) -> str:
    return re.sub(r"^modality=", f"{MODALITY}=", override)


def choices(group: str) -> tuple[str, ...]:
    """Return the names of the files in a folder of `spaces/`; the spaces themselves for ""."""
    return tuple(sorted(path.stem for path in yaml_files(group)))


def yaml_files(group: str) -> Iterator[Path]:
    """Yield the YAML files of a folder of `spaces/`, those of other packages last."""
    for folder in (SPACES, *folders()):
        found = (folder / group).glob("*.yaml")
        yield from sorted(path for path in found if path.is_file() and path != SPACES / BASE)


def _group(override: str) -> str:
    """Return the folder of a choice, e.g. `data` of `data=demo`; "" if it sets a value."""
    group = re.split("[@=]", override.lstrip("+~"))[0]
    return group if group.isidentifier() and (SPACES / group).is_dir() else ""


def _check(override: str) -> None:
    """Raise UserError unless the override is `key=value`, or chooses an existing file."""
    key, equals, value = override.partition("=")
    if not KEY.fullmatch(key) or not (equals or key.startswith("~")):
        raise UserError(f"{shown(override) or repr('')}: must be key=value; try seed=1, or --help")
    group = _group(override)
    if group == "task" and "@" not in key:
        raise UserError(f"{override}: must say its place; try +task@tasks.{value}={value}")
    if group and equals and value not in (known := choices(group)):
        raise UserError(unknown(key, shown(value), known))


TASKS = ["data", "augment", "tasks"]  # what each changes of the augmentations
NAMED = ["starts"], ["baselines", "features"]  # sections of names that a user chooses


def _explain(override: str, files: Section) -> None:
    """Raise UserError, one line, if neither a dataclass nor a plug-in knows the override's key."""
    key = override.partition("=")[0].lstrip("+~")
    place = key.partition("@")[2] if _group(override) else key
    parts = place.split(".") if place else []
    free = len(parts) > 1 and parts[0] in ("external", "pool")
    for section in NAMED:
        above, names = parts[: len(section)], parts[len(section) :]
        new = above == section and names and names[0] not in value_at(files, section)
        if new and override[0] not in "+~":
            raise UserError(f"{override}: must begin with + for a new name; try +{override}")
        free = free or bool(new and override[0] == "+")
    if parts[:2] == ["data", "pool"] or free:
        return  # its kind may come with another override; the dataclass refuses unknown keys
    for depth, part in enumerate(parts):
        known = [*map(str, _keys(parts[:depth], {**files, "modality": None}))]  # a table's: numbers
        if part not in known:
            line = f"{'.'.join(parts[: depth + 1])}: {one_of(part, known)}"
            raise UserError(line)


def _keys(path: Sequence[str], files: Section) -> Collection[str]:
    """Return the keys that the section at `path` may have."""
    named = "kind" if path[:1] == ["downstream"] else "name"
    if path[-1:] == ["params"] and (name := value_at(files, [*path[:-1], named])):
        return keys(load(PACKAGES[path[0]], name).Params, (), {})
    if path == TASKS:
        return available(PACKAGES["tasks"])
    if path[:-1] == TASKS:
        return keys(Preset, (), {}) - {"tasks"}
    return keys(Space, path, files)


def _check_files(name: str) -> None:
    """Raise UserError if a YAML file is broken, naming the file."""
    import yaml

    for path in (SPACES / f"{name}.yaml", *yaml_files("*")):
        try:
            found = yaml.safe_load(path.read_text("utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{path}: must be YAML in UTF-8 ({reason}); try mending it") from None
        if not isinstance(found, dict):
            raise UserError(f"{path}: must hold keys with values; try mending it")
