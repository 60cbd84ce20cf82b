"""A space as YAML, each value with the file or override that it comes from, or `default`.

print("\n".join(explained("isic3", ["seed=1"])))     # seed: 1  # seed=1
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from search.space import load
from search.space.compose import adapted, composed, sources

COLUMN = 44  # where the origins stand, unless a value is longer


def explained(name: str, overrides: Sequence[str] = ()) -> Iterator[str]:
    """Yield lines of valid YAML; UserError as for a search."""
    import yaml

    checked, given = asdict(load(name, overrides)), composed(name, overrides)
    short = {key: given[key] for key in ("budget", "starts")}
    whole = yaml.safe_load(yaml.safe_dump({**checked, **short}, sort_keys=False))
    found = {"": "default"}
    told = sources(name, overrides)
    for origin, at, value in (*told, *adapted(given, name, overrides)):
        found |= dict.fromkeys(_leaves(value, at), origin)
    return _lines(whole, found)


def _leaves(value: Any, at: str) -> Iterator[str]:
    """Yield the dotted paths of the values below; lists and empty sections are values."""
    if not isinstance(value, Mapping) or not value:
        yield at
        return
    for key, below in value.items():
        yield from _leaves(below, f"{at}.{key}".lstrip("."))


def _lines(node: Mapping[str, Any], found: Mapping[str, str], at: str = "") -> Iterator[str]:
    import yaml

    indent = "  " * at.count(".")
    for key, value in node.items():
        path = f"{at}{key}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, found, f"{path}.")
        else:
            flow = yaml.safe_dump(
                {key: value}, default_flow_style=True, allow_unicode=True, width=float("inf")
            )
            yield f"{indent + flow.strip()[1:-1]:{COLUMN}}  # {_origin(path, found)}"


def _origin(path: str, found: Mapping[str, str]) -> str:
    """Return the nearest origin above: interpolated values have none of their own."""
    while path not in found:
        path = path.rpartition(".")[0]
    return found[path]
