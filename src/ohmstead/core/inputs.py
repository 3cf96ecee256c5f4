"""Faults of what comes in as JSON: what its syntax allows, and nothing behind it can carry."""

from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any, Literal, get_args, get_origin

import orjson
from pydantic import AliasChoices, BaseModel

DEEPEST = 250
"""So deep may objects and lists be nested: orjson writes at most 254 levels."""

Place = list[str | int]
Fault = tuple[Place, str]
"""Where in the data something is wrong, and what."""


def unwritable(data: Any) -> Fault | None:
    """Find what could not be written as JSON again: half a surrogate pair, more than 64 bits, too deep.

    Databases, chargers and our own answers refuse it too, but too late to tell the caller.
    """
    try:
        orjson.dumps(data, default=_known_elsewhere)
    except TypeError:
        return _search(data)
    return None


def _known_elsewhere(_: object) -> None:
    """Let pass what is no JSON: rows and the like, of our own."""


def _search(data: Any) -> Fault | None:
    found: list[tuple[Place, Any]] = [([], data)]
    while found:
        at, value = found.pop()
        if isinstance(value, str) and not _is_unicode(value):
            return at, "holds half of a surrogate pair, which is no character"
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return at, "is a number of more than 64 bits"
        if isinstance(value, dict | list):
            if len(at) == DEEPEST:
                return at[:1], "is nested too deeply"
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for name, part in pairs:
                shown = str(name).encode(errors="backslashreplace").decode()
                if shown != str(name):
                    return [*at, shown], "has half of a surrogate pair in its name, which is no character"
                found.append(([*at, name], part))
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def truth_for_a_number(model: type[BaseModel], data: dict[str, Any]) -> Fault | None:
    """Find `true` or `false` where a model takes a number: to Pydantic they are 1 and 0."""
    for name in _numbers_of(model) & data.keys():
        values = data[name] if isinstance(data[name], list) else [data[name]]
        if any(isinstance(value, bool) for value in values):
            return [name], "must be a number, not true or false"
    return None


@cache
def _numbers_of(model: type[BaseModel]) -> frozenset[str]:
    """Return the names, as they are sent, of the members of a model that take numbers and no truth values."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        leaves = set(_leaves(field.annotation))
        if any(issubclass(leaf, int | float | Decimal) for leaf in leaves - {bool}) and bool not in leaves:
            names.add(name)
            alias = field.validation_alias
            names.update(one for one in _spellings(alias) if isinstance(one, str))
    return frozenset(names)


def _spellings(alias: Any) -> list[Any]:
    return alias.choices if isinstance(alias, AliasChoices) else [alias]


def _leaves(annotation: Any) -> Iterator[type]:
    """Return the types that an annotation is made of."""
    if get_origin(annotation) is Literal:
        return
    parts = get_args(annotation)
    for part in parts:
        yield from _leaves(part)
    if not parts and isinstance(annotation, type):
        yield annotation
