"""Which members an object of a schema may have: to leave out unknown ones and to name them in errors."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

MAX_ECHO: Final = 100


class Shape(NamedTuple):
    """The part of a schema that says where members belong.

    `members` maps the known members of an object to their shapes, and is None where any member may stand;
    `items` is the shape of each element of an array.
    """

    members: "dict[str, Shape] | None" = None
    items: "Shape | None" = None

    def at(self, path: Sequence[str | int]) -> "Shape":
        """The shape at a path into an instance; the empty shape where the schema says nothing."""
        shape: Shape | None = self
        for step in path:
            if shape is None:
                break
            shape = shape.items if isinstance(step, int) else (shape.members or {}).get(step)
        return _ANYTHING if shape is None else shape


_ANYTHING: Final = Shape()


def shape_of(schema: dict[str, Any]) -> Shape:
    """The shape of a JSON schema (draft 4 or 6) whose references point to its own `definitions`."""
    return _shape_of(schema, schema.get("definitions", {}))


def _shape_of(schema: dict[str, Any], definitions: dict[str, Any]) -> Shape:
    reference = schema.get("$ref")
    if reference is not None:
        return _shape_of(definitions[reference.removeprefix("#/definitions/")], definitions)
    members = None
    if "properties" in schema and schema.get("additionalProperties") is False:
        members = {name: _shape_of(part, definitions) for name, part in schema["properties"].items()}
    elif schema.get("type") == "object" and schema.get("additionalProperties") is False:
        members = {}
    items = _shape_of(schema["items"], definitions) if "items" in schema else None
    return Shape(members, items)


def strip(shape: Shape, payload: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The payload without the members that its shape does not know, and the paths of those."""
    removed: list[str] = []
    stripped: dict[str, Any] = _strip(shape, payload, (), removed)
    return stripped, removed


def _strip(shape: Shape, value: Any, path: tuple[str | int, ...], removed: list[str]) -> Any:
    if isinstance(value, dict) and shape.members is not None:
        kept = {}
        changed = False
        for name, member in value.items():
            inner = shape.members.get(name)
            if inner is None:
                removed.append(path_text((*path, name)))
                changed = True
                continue
            kept[name] = member
            if isinstance(member, dict | list):
                kept[name] = _strip(inner, member, (*path, name), removed)
                changed = changed or kept[name] is not member
        return kept if changed else value
    if isinstance(value, list) and shape.items is not None:
        inner = shape.items
        elements = [_strip(inner, element, (*path, index), removed) for index, element in enumerate(value)]
        same = all(new is old for new, old in zip(elements, value, strict=True))
        return value if same else elements
    return value


def path_text(path: Sequence[str | int]) -> str:
    """A path as people write it: `meterValue[0].timestamp`; the root is `payload`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{shortened(step)}" for step in path)
    return text.removeprefix(".") or "payload"


def quoted(value: Any) -> str:
    """A value as JSON, at most 100 characters of it."""
    return shortened(orjson.dumps(value, default=str).decode())


def shortened(text: str) -> str:
    """At most 100 characters of a text."""
    return text if len(text) <= MAX_ECHO else text[: MAX_ECHO - 3] + "..."
