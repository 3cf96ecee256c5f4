"""From a schema violation to the CALLERROR that tells the charger's engineer what to mend.

OCPP-J 1.6, 4.2.3: something missing or too many of it is an OccurenceConstraintViolation, the wrong JSON
type a TypeConstraintViolation, a value out of bounds a PropertyConstraintViolation, and a member that the
standard does not know a FormationViolation.
"""

from typing import Any, Final

import jsonschema_rs
import orjson
from jsonschema_rs import ValidationErrorKind as Kind

from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.v16.shapes import Shape, path_text, quoted, shortened

# The rank says which of several violations is the most telling: a wrong type first, since it is the cause of
# others; a missing member before an unknown one, since the two are often one misspelt name.
_CODES: Final[dict[str, tuple[int, ErrorCode]]] = {
    "type": (0, ErrorCode.TYPE_CONSTRAINT_VIOLATION),
    "required": (1, ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
    "minItems": (2, ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
    "maxItems": (2, ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
    "additionalProperties": (3, ErrorCode.FORMATION_VIOLATION),
}
_OTHER: Final = (4, ErrorCode.PROPERTY_CONSTRAINT_VIOLATION)

# The validator lists all violations at once, and a frame of 256 KiB can hold enough of them to take seconds:
# of a payload with more bytes only the first one is looked at.
_MOST_BYTES: Final = 4096

_TYPE_NAMES: Final = {
    "array": "an array",
    "boolean": "a boolean",
    "integer": "an integer",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def violation(validator: jsonschema_rs.Validator, shape: Shape, payload: dict[str, Any]) -> OcppError:
    """The error for a payload that `validator` has refused."""
    try:
        error = _most_telling(validator, payload)
    except (TypeError, ValueError):  # nested deeper than orjson can write or the validator can walk
        return OcppError(ErrorCode.FORMATION_VIOLATION, "the payload is nested too deeply")
    code = _CODES.get(error.kind.name, _OTHER)[1]
    return OcppError(code, _description(error, shape))


def _most_telling(
    validator: jsonschema_rs.Validator, payload: dict[str, Any]
) -> jsonschema_rs.ValidationError:
    if len(orjson.dumps(payload)) > _MOST_BYTES:
        try:
            validator.validate(payload)
        except jsonschema_rs.ValidationError as first:
            return first
    return min(validator.iter_errors(payload), key=lambda each: _CODES.get(each.kind.name, _OTHER)[0])


def _description(error: jsonschema_rs.ValidationError, shape: Shape) -> str:
    kind = error.kind
    name = path_text(error.instance_path)
    value = error.instance
    match kind:
        case Kind.Required(property=member):
            missing = path_text([*error.instance_path, member])
            return f"{missing} is missing, it is required{_alike(member, value)}"
        case Kind.AdditionalProperties(unexpected=members):
            return _unknown_member(error, shape, members[0])
        case Kind.Type(types=types):
            expected = " or ".join(_TYPE_NAMES.get(each, each) for each in types)
            return f"{name} must be {expected}, not {_type_name(value)}"
        case Kind.MinItems(limit=limit):
            return f"{name} must have at least {limit} element(s), it has {_length(value)}"
        case Kind.MaxItems(limit=limit):
            return f"{name} must have at most {limit} element(s), it has {_length(value)}"
        case Kind.Enum(options=options):
            return f"{name} is {quoted(value)}, it must be one of {', '.join(map(str, options))}"
        case Kind.MaxLength(limit=limit):
            return f"{name} has {_length(value)} characters, at most {limit} are allowed"
        case Kind.MinLength(limit=limit):
            return f"{name} has {_length(value)} characters, at least {limit} are needed"
        case Kind.Format(format="date-time"):
            return f"{name} is {quoted(value)}, it must be a date and time such as 2024-05-31T12:00:00Z"
        case Kind.Format(format=form):
            # No echo: a URI may carry a password.
            return f"{name} must be a valid {form}"
        case Kind.MultipleOf(multiple_of=step):
            return f"{name} is {quoted(value)}, it must be a multiple of {step}"
        case Kind.Minimum(limit=limit):
            return f"{name} is {quoted(value)}, it must be at least {limit}"
        case Kind.Maximum(limit=limit):
            return f"{name} is {quoted(value)}, it must be at most {limit}"
        case _:
            return f"{name} breaks the rule {kind.name} of the schema"


def _unknown_member(error: jsonschema_rs.ValidationError, shape: Shape, member: str) -> str:
    known = shape.at(error.instance_path).members or {}
    meant = [each for each in known if each.casefold() == member.casefold()]
    hint = f", did you mean {meant[0]}?" if meant else ", leave it out"
    return f"{path_text([*error.instance_path, shortened(member)])} is not known in OCPP 1.6{hint}"


def _alike(member: str, value: object) -> str:
    """Name the member that only differs in case, the usual mistake."""
    names = value if isinstance(value, dict) else {}
    alike = [name for name in names if name.casefold() == member.casefold()]
    return f" (it is spelt {alike[0]} here)" if alike else ""


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | list) else 0


def _type_name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return f"the number {value}"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
