"""Payload checks against the 78 JSON schemas of OCPP 1.6, which the package `ocpp` brings along.

A schema is read and compiled when its action is first seen; a check then costs about a microsecond.
"""

from functools import cache
from importlib import resources
from typing import Any, Final, Literal

import jsonschema_rs
import orjson

from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.timestamps import is_timestamp
from ohmstead.ocpp.v16.actions import ACTIONS, FROM_CENTRAL, FROM_CHARGER
from ohmstead.ocpp.v16.shapes import Shape, quoted, shape_of, strip
from ohmstead.ocpp.v16.violations import violation

_SENT_BY: Final = {"charger": FROM_CHARGER, "central": FROM_CENTRAL}
_requests: Final[dict[str, dict[str, jsonschema_rs.Validator]]] = {"charger": {}, "central": {}}
_responses: Final[dict[str, jsonschema_rs.Validator]] = {}
_shapes: Final[dict[str, Shape]] = {}


def check_request(
    action: str, payload: dict[str, Any], sender: Literal["charger", "central"] = "charger"
) -> None:
    """Check the payload of a CALL that `sender` sends.

    Raises OcppError: NotImplemented for an action that is not in OCPP 1.6, NotSupported for one that only the
    other side may send, or the code of the most telling violation (see `violations`).
    """
    validator = _requests[sender].get(action)
    if validator is None:
        validator = _load_request(action, sender)
    if not validator.is_valid(payload):
        raise violation(validator, _shape(action), payload)


def check_response(action: str, payload: dict[str, Any]) -> None:
    """Check the payload of the CALLRESULT that answers `action`. Raises OcppError as `check_request` does."""
    validator = _responses.get(action)
    if validator is None:
        _known(action)
        validator = _responses[action] = _compile(load_schema(action + "Response"))
    if not validator.is_valid(payload):
        raise violation(validator, _shape(action + "Response"), payload)


def lacks_status(action: str, payload: dict[str, Any]) -> bool:
    """Tell whether an answer to `action` must have a status, as its schema says, and has no word for it."""
    return not isinstance(payload.get("status"), str) and _has_status(action)


@cache
def _has_status(action: str) -> bool:
    return "status" in load_schema(action + "Response").get("required", ())


def strip_unknown_request(action: str, payload: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Leave out the members that the request's schema does not know, also in nested objects and arrays.

    For chargers marked tolerant. Returns the payload and the paths left out, such as
    `meterValue[0].vendorField`; the payload is the same object when nothing was, and is never changed in
    place. An unknown action is left for `check_request` to refuse.
    """
    return strip(_shape(action), payload) if action in ACTIONS else (payload, [])


def preload() -> None:
    """Compile all 78 schemas now (some 10 ms), so that no charger waits for it."""
    for sender, actions in _SENT_BY.items():
        for action in actions:
            _load_request(action, sender)
    for action in ACTIONS:
        _responses[action] = _compile(load_schema(action + "Response"))


def load_schema(name: str) -> dict[str, Any]:
    """The JSON schema `name` ("Authorize", "AuthorizeResponse") as the package `ocpp` ships it."""
    # The parent package is named, not ocpp.v16.schemas: importing that would load asyncio and websockets.
    file = resources.files("ocpp").joinpath("v16", "schemas", name + ".json")
    # Some releases begin with a byte order mark.
    schema: dict[str, Any] = orjson.loads(file.read_text(encoding="utf-8-sig"))
    return schema


def _compile(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    # The drafts leave `format` to the validator: times are checked the way `parse_timestamp` reads them. The
    # validator tests `multipleOf: 0.1` on decimals, so 21.4 passes and 0.30000000000000004 does not.
    # Empty answers have no `properties`: without them an unknown member would be reported without its name.
    return jsonschema_rs.validator_for(
        {"properties": {}, **schema},
        formats={"date-time": is_timestamp},
        validate_formats=True,
        offline=True,
    )


def _load_request(action: str, sender: str) -> jsonschema_rs.Validator:
    _known(action)
    if action not in _SENT_BY[sender]:
        owner = "the central system" if sender == "charger" else "the charger"
        raise OcppError(ErrorCode.NOT_SUPPORTED, f"{action} may be sent only by {owner}")
    validator = _requests[sender][action] = _compile(load_schema(action))
    return validator


def _known(action: str) -> None:
    if action not in ACTIONS:
        raise OcppError(ErrorCode.NOT_IMPLEMENTED, f"{quoted(action)} is not an action of OCPP 1.6")


def _shape(name: str) -> Shape:
    shape = _shapes.get(name)
    if shape is None:
        shape = _shapes[name] = shape_of(load_schema(name))
    return shape
