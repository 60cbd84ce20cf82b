"""Typed, bounded parameters: a frozen dataclass is the schema of the user's values.

    @dataclass(frozen=True)
    class Params(Schema):
        temperature: Annotated[float, Field(gt=0, le=10)]

    read(Params, {"temperature": -1}, "tasks.moco.params", usual={"temperature": 0.2})
    # UserError: tasks.moco.params.temperature=-1: must be a number above 0 and at most 10; try 0.2

Types are strict as in JSON: no text for a number, no number for a text, no NaN. Error messages are
made from the dataclass's JSON schema, so bounds stand in one place. No torch here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from trainables.errors import UserError
from trainables.plugins import one_of

Kind = TypeVar("Kind")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
Node = Mapping[str, Any]  # of a JSON schema
_schema: Callable[[Any], Node] = cache(lambda kind: _adapter(kind).json_schema())
Section: TypeAlias = dict[str, Any]  # a user's keys and values, for a dataclass to check
BOUNDS = {
    "exclusiveMinimum": "above", "minimum": "at least",
    "exclusiveMaximum": "below", "maximum": "at most",
}  # fmt: skip
KINDS = {
    "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "string": "a text", "null": "null", "object": "a section of keys",
}  # fmt: skip
EXTRA, MISSING = ("extra_forbidden", "unexpected_keyword_argument"), ("missing", "missing_argument")


class Schema:
    """Base of dataclasses that are read from a user's values: no unknown key, no NaN."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)


def _rising(values: Sequence[float]) -> Sequence[float]:
    if list(values) != sorted(values):
        raise ValueError("must be two numbers that rise")
    return values


Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
        max_length=100,
        description="a name of letters, digits, '_', '-' and '.', not beginning with '.'",
    ),
]


def _text(value: object) -> object:
    """Return a number as the text that it was typed as: a column may be called 0, a class 2."""
    return str(value).lower() if isinstance(value, int | float) else value


Written = BeforeValidator(_text)
Place = Annotated[str, Written, Field(pattern=r"^[^\x00]*[^\s\x00][^\x00]*$", description="a path")]
Text = Annotated[str, Written, Field(pattern=r"\S", description="a text that is not empty")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
HeadRate = Annotated[float, Field(gt=0, le=1000)]  # times the learning rate of the backbone
Temperature = Annotated[float, Field(ge=0.001, le=10)]
Crop = Annotated[  # smallest and largest fraction of the image's area
    tuple[Annotated[float, Field(ge=0.001, le=1)], ...],
    Field(min_length=2, max_length=2),
    AfterValidator(_rising),
]


def read(kind: type[Kind], given: Any, where: str = "", usual: Callable[[], Any] = dict) -> Kind:
    """Build the dataclass `kind` from the mapping `given`; UserError names the first bad value.

    where: the key of `given` on the command line. usual: returns default values, to suggest one.
    """
    adapter = _adapter(kind)
    try:
        found: Kind = adapter.validate_json(json.dumps(given, default=str), strict=True)
        return found
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] not in EXTRA)
        if isinstance(cause := first.get("ctx", {}).get("error"), UserError):
            raise cause from None
        line = _line(_schema(kind), dict(first), where, given, usual())
        raise UserError(line) from None


def keys(kind: type, path: Sequence[str], given: Any) -> set[str]:
    """Return the keys that the dataclass `kind` or the values given have at `path`."""
    schema, present = _schema(kind), value_at(given, path)
    node = _section(schema, _walk(schema, path, given)[1])
    return {*node.get("properties", ()), *(present if isinstance(present, Mapping) else ())}


def _line(schema: Node, first: Mapping[str, Any], where: str, given: Any, usual: Any) -> str:
    """Turn pydantic's first error into `WHERE=VALUE: must be ...; try ...`."""
    path, node = _walk(schema, first["loc"], given)
    place = ".".join(filter(None, (where, *map(str, path))))
    if first["type"] in EXTRA:
        above = _section(schema, _walk(schema, path[:-1], given)[1])
        known = tuple(above.get("properties", {}))
        return f"{place}: {one_of(str(path[-1]), known)}"
    attempt = _attempt(place, value_at(usual, path), node)
    if first["type"] in MISSING:
        return f"{place}: must be given; try {attempt if '=' in attempt else f'{place}={attempt}'}"
    rule = str(first.get("ctx", {}).get("error") or f"must be {_allowed(node)}")
    return f"{place}={shown(value_at(given, path))}: {rule}; try {attempt}"


def _attempt(place: str, usual: Any, node: Node) -> str:
    """Return what to write instead: the default, else an allowed value."""
    below = place
    while isinstance(usual, Mapping) and usual:
        key, usual = next(iter(usual.items()))
        below = f"{below}.{key}"
    if below != place:
        return f"{below}={shown(usual)}"
    return _sample(node) if usual is None else shown(usual)


def shown(value: Any) -> str:
    """Format a value as on the command line: one line, at most 80 characters."""
    if isinstance(value, str) and value.isprintable():
        return value[:80]
    return json.dumps(value, separators=(",", ":"), default=str)[:80]


def value_at(value: Any, path: Sequence[Any]) -> Any:
    for part in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _walk(schema: Node, path: Sequence[Any], given: Any) -> tuple[list[str], Node]:
    """Follow the path down to a list or union; return the keys walked and the schema there."""
    node, walked = schema, list[str]()
    for key in path:
        if key == "[key]" or not isinstance(value_at(given, walked), Mapping):
            break
        node = _section(schema, node)
        below = [node.get("properties", {}).get(key), node.get("additionalProperties")]
        below += node.get("patternProperties", {}).values()
        node, walked = _resolved(schema, next(filter(None, below), {})), [*walked, key]
    return walked, node


def _resolved(schema: Node, node: Node) -> Node:
    reference = node.get("$ref", "").rpartition("/")[2]
    return schema["$defs"][reference] if reference else node


def _section(schema: Node, node: Node) -> Node:
    """Return the section that may stand at a node beside null; else the node itself."""
    choices = [_resolved(schema, one) for one in node.get("anyOf", ())]
    return next((one for one in choices if "properties" in one), node)


def _allowed(node: Node) -> str:
    """Describe in words what a value may be."""
    kind = "object" if "$ref" in node else node.get("type")
    if "anyOf" in node:
        return " or ".join(_allowed(choice) for choice in node["anyOf"])
    if keys := ", ".join(node.get("properties", ())):
        return f"a section with the keys {keys}"
    if "description" in node:
        return str(node["description"])
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    if kind == "array":
        return f"a list of {_count(node)}values, each {_allowed(node.get('items', {}))}"
    bounds = " and ".join(f"{word} {node[key]:.10g}" for key, word in BOUNDS.items() if key in node)
    if {"minimum", "maximum"} <= set(node):
        bounds = f"from {node['minimum']:.10g} to {node['maximum']:.10g}"
    return f"{KINDS.get(str(kind), 'a value')} {bounds}".strip()


def _count(node: Node) -> str:
    low, high = node.get("minItems", 0), node.get("maxItems")
    if low == high:
        return f"{low} "
    return f"{low} to {high} " if high else ""


def _sample(node: Node) -> str:
    """Return an allowed value."""
    if "default" in node:
        return shown(node["default"])
    if "anyOf" in node:
        return _sample(node["anyOf"][-1])
    if "enum" in node:
        return str(node["enum"][0])
    if node.get("type") == "array":
        return f"[{','.join([_sample(node.get('items', {}))] * max(1, node.get('minItems', 1)))}]"
    for key in ("minimum", "maximum"):
        if key in node:
            return f"{node[key]:.10g}"
    return {"null": "null", "boolean": "false", "object": "{}"}.get(node.get("type", ""), "name")
