"""Taking the tags of a person out of what was written, and leaving everything else as it is.

A tag is a text of up to 20 characters, and may be any word or number: it is replaced only as the whole value
of a member that holds tags by its name, and only where it was the person's (`Person.pseudonyms`).
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, and_, cast, false, func, or_

TAG_MEMBERS = frozenset({"idtag", "id_tag", "parentidtag", "parent_id_tag", "id_tags", "parents"})
"""Members of JSON that hold a tag, or a list of tags, in small letters."""

_IN_A_FRAME = re.compile(r'((?<!\\)"(?:parent)?idtag"\s*:\s*")((?:[^"\\]|\\.)*)(?=")', re.IGNORECASE)
_ESCAPED = r'"(parent)?idtag"\s*:\s*"[^"\\]*\\'
"""For PostgreSQL: a tag with an escape in it, which any character may be (RFC 8259 7)."""


def without_tags(value: Any, told: Mapping[str, str]) -> Any:
    """Return a value of JSON in which tags (`told`, in small letters) are replaced; else the value itself."""
    return _replaced(value, told, holds_tags=False)


def _replaced(value: Any, told: Mapping[str, str], *, holds_tags: bool) -> Any:
    if isinstance(value, dict):
        new: Any = {
            name: _replaced(one, told, holds_tags=name.lower() in TAG_MEMBERS) for name, one in value.items()
        }
    elif isinstance(value, list):
        new = [_replaced(one, told, holds_tags=holds_tags) for one in value]
    elif holds_tags and isinstance(value, str):
        return told.get(value.lower(), value)
    else:
        return value
    return value if new == value else new


def frame_without_tags(frame: str, told: Mapping[str, str]) -> str:
    """Return a message of OCPP as it was sent, with tags replaced: no other byte of it changes.

    It may be no JSON at all: what a charger sent is kept whatever it is.
    """

    def replaced(found: re.Match[str]) -> str:
        try:
            tag = orjson.loads(f'"{found[2]}"')
        except orjson.JSONDecodeError:
            return found[0]
        return found[0] if tag.lower() not in told else found[1] + told[tag.lower()]

    return _IN_A_FRAME.sub(replaced, frame)


def escapes_a_tag(column: Any) -> ColumnElement[bool]:
    """Return the condition for frames in which a tag is written with an escape, whosever it is."""
    return and_(column.contains("\\", autoescape=True), column.regexp_match(_ESCAPED, flags="i"))


def names_a_tag(column: Any, tags: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition for texts or JSON in which one of some tags stands as a value, in any case.

    It finds too much: what is the person's is decided row by row.
    """
    return _contains(column, [orjson.dumps(tag).decode() for tag in tags])


def contains_any(column: Any, tags: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition for texts or JSON in which one of some tags stands somewhere, in any case."""
    return _contains(column, [orjson.dumps(tag).decode()[1:-1] for tag in tags])


def _contains(column: Any, texts: Iterable[str]) -> ColumnElement[bool]:
    written = cast(column, Text)
    return or_(false(), *(written.icontains(one, autoescape=True) for one in texts))


def is_a_tag(column: Any, tags: Iterable[str]) -> ColumnElement[bool]:
    """Return the condition for columns that hold one of some tags, in any case."""
    return func.lower(column).in_([func.lower(tag) for tag in tags])
