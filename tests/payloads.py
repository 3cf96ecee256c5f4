"""Payloads made from the schemas of OCPP 1.6: valid ones, and ones with exactly one fault."""

import copy
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from ohmstead.ocpp.errors import ErrorCode

Path = tuple[str | int, ...]

FORMATS = {
    "date-time": st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    "uri": st.from_regex(r"\A(ftp|https)://[a-z]{1,8}/[a-z]{0,8}\Z"),
}


def plain(schema: Any, definitions: Any = None) -> Any:
    """The schema with its references replaced by what they refer to."""
    if isinstance(schema, list):
        return [plain(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = definitions or schema.get("definitions")
    if "$ref" in schema:
        return plain(definitions[schema["$ref"].split("/")[-1]], definitions)
    return {key: plain(value, definitions) for key, value in schema.items() if key != "definitions"}


def valid(schema: dict[str, Any], *, storable: bool = False) -> st.SearchStrategy[Any]:
    """Values that keep a schema without references; only the keywords that OCPP's schemas use.

    `storable` leaves out what passes the schema and no database takes: NUL, and integers beyond 32 bits.
    """
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object":
            parts = {
                name: valid(part, storable=storable) for name, part in schema.get("properties", {}).items()
            }
            required = schema.get("required", [])
            return st.fixed_dictionaries(
                {name: parts[name] for name in required},
                optional={name: part for name, part in parts.items() if name not in required},
            )
        case "array":
            return st.lists(
                valid(schema["items"], storable=storable), min_size=schema.get("minItems", 0), max_size=3
            )
        case "integer" if storable:
            return st.integers(0, 2**31 - 1)
        case "integer":
            return st.integers(-(2**63), 2**63 - 1)
        case "number":
            return st.integers(-(10**6), 10**6).map(lambda tenths: tenths / 10)
        case "boolean":
            return st.booleans()
        case "string" if "format" in schema:
            return FORMATS[schema["format"]]
        case "string":
            letters = st.characters(exclude_characters="\0" if storable else "", exclude_categories=["Cs"])
            return st.text(letters, max_size=schema.get("maxLength"))
    raise AssertionError(schema)


def complete(schema: dict[str, Any]) -> Any:
    """A payload with every member that the schema knows, in the simplest form."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "object":
            return {name: complete(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [complete(schema["items"])]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return {"date-time": "2024-05-31T12:00:00Z", "uri": "ftp://host/file"}.get(
                schema.get("format", ""), "x"
            )


def nodes(schema: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every place of a complete payload with its schema."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, (*path, name))
    if "items" in schema:
        yield from nodes(schema["items"], (*path, 0))


def put(payload: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(payload)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def at(payload: Any, path: Path) -> Any:
    for step in path:
        payload = payload[step]
    return payload


def written(path: Path) -> str:
    return re.sub(r"^\.", "", "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path))


def mutations(
    payload: dict[str, Any], path: Path, part: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], ErrorCode, Path]]:
    """Payloads with one fault each at `path`, the code that each deserves, and the place to be named."""
    if path:
        wrong = 7 if part.get("type") == "string" else "x"
        yield put(payload, path, wrong), ErrorCode.TYPE_CONSTRAINT_VIOLATION, path
        yield put(payload, path, None), ErrorCode.TYPE_CONSTRAINT_VIOLATION, path
    if "enum" in part and part.get("type") == "string":
        yield put(payload, path, "Nonsense"), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, path
    if "multipleOf" in part:
        yield put(payload, path, 1.25), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, path
    if "maxLength" in part:
        too_long = "x" * (part["maxLength"] + 1)
        yield put(payload, path, too_long), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, path
    if "format" in part:
        yield put(payload, path, "some day"), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, path
    if "minItems" in part:
        yield put(payload, path, []), ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, path
    if part.get("type") == "object":
        extra = copy.deepcopy(payload)
        at(extra, path)["vendorField"] = {"a": 1}
        yield extra, ErrorCode.FORMATION_VIOLATION, (*path, "vendorField")
        for member in part.get("required", []):
            less = copy.deepcopy(payload)
            del at(less, path)[member]
            yield less, ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, (*path, member)
