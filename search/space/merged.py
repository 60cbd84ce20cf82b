"""What a merge of YAML files can't know: whole tables, and recipes that suit the backbone.

told: (origin, dotted path, value) of every file and override in the order of the merge.

    whole(found, told)      # a table of lengths is the last one given, not the union of all
    suited(found, told)     # what a transformer is trained with where the user gave nothing else
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from trainables.architectures import TRANSFORMER, check, is_transformer
from trainables.schema import Section, value_at

Told: TypeAlias = tuple[str, str, Any]
Path: TypeAlias = Sequence[str]
LENGTHS = ("steps", "downstream_steps")
OWN = ("spaces/task/", "spaces/downstream/")  # files that say how any backbone is trained


def whole(found: Section, told: Sequence[Told]) -> Section:
    """Return the section with every table of lengths as it was given last."""
    for path in (["profile"], *_trained(found)):
        for key in LENGTHS:
            if isinstance(value_at(found, [*path, key]), Mapping):
                _, given = _last(told, [*path, key])
                found = _with(found, [*path, key], given) if given else found
    return found


def suited(found: Section, told: Sequence[Told]) -> Iterator[Told]:
    """Yield what replaces optimiser, weight decay and rates that are for SGD or LARS.

    Not where the optimiser is the user's own, nor any single value that is.
    """
    backbone = value_at(found, ["profile", "backbone"])
    if not isinstance(backbone, str):
        return
    check(backbone)
    if not is_transformer(backbone):
        return
    for path in _trained(found):
        origin, optimizer = _last(told, [*path, "optimizer"])
        if optimizer == TRANSFORMER.optimizer or not origin.startswith(OWN):
            continue
        for key, value in TRANSFORMER.values(path[0] == "downstream").items():
            if _last(told, [*path, key])[0].startswith(OWN):
                yield f"{backbone} is a transformer", ".".join([*path, key]), value


def changed(found: Section, told: Sequence[Told]) -> Section:
    """Return the section with the values at their paths."""
    for _, at, value in told:
        found = _with(found, at.split("."), value)
    return found


def _trained(found: Section) -> list[list[str]]:
    """Return the paths of the sections on a training; of what is no section the schema tells."""
    tasks = found.get("tasks")
    paths = [["tasks", name] for name in tasks] if isinstance(tasks, Mapping) else []
    return [p for p in (["downstream"], *paths) if isinstance(value_at(found, p), Mapping)]


def _last(told: Sequence[Told], path: Path) -> tuple[str, Any]:
    """Return what set the value last, and its whole value; None if only a part of it was set."""
    for origin, at, value in reversed(told):
        place = at.split(".") if at else []
        if place[: len(path)] == path and len(place) > len(path):
            return origin, None
        if path == place:
            return origin, value
        above = value_at(value, path[len(place) : -1]) if path[: len(place)] == place else None
        if isinstance(above, Mapping) and path[-1] in above:
            return origin, above[path[-1]]
    return OWN[0], None  # left to the dataclass


def _with(found: Section, path: Path, value: Any) -> Section:
    first, *below = path
    return {**found, first: _with(found[first], below, value) if below else value}
