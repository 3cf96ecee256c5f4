"""Commands to chargers: what an operator asks becomes the payload of a CALL."""

import json
from typing import Any

import orjson

from ohmstead.core.errors import Invalid, NotFound
from ohmstead.ocpp.errors import OcppError
from ohmstead.ocpp.frames import FrameError, compact, encode_call, parse
from ohmstead.ocpp.v16.actions import ACTIONS, FROM_CENTRAL
from ohmstead.ocpp.v16.schemas import check_request


def require_action(action: str) -> None:
    """Refuse an action that OCPP 1.6 does not know (`NotFound`) or only a charger sends (`Invalid`)."""
    possible = f"Possible are: {', '.join(sorted(FROM_CENTRAL))}."
    if action not in ACTIONS:
        raise NotFound(
            f"There is no such action in OCPP 1.6 (the case of letters counts). {possible}",
            code="UnknownAction",
        )
    if action not in FROM_CENTRAL:
        raise Invalid(
            f"{action} is sent by chargers, not to them. {possible}",
            code="ActionNotPossible",
            fields={"action": "is sent by chargers only"},
        )


def payload_of(action: str, body: bytes) -> bytes:
    """Return the payload to send: the body as it was given, without white space between its tokens.

    An empty body is `{}`. The order of members and the writing of numbers stay; nothing is added.
    Raises `Invalid` for what is no JSON object, breaks the schema of the action, could not be put into a
    frame, or gives a name twice: the charger might read another one of the two than we do (RFC 8259 4.).
    """
    require_action(action)
    if not body.strip():
        body = b"{}"
    try:
        payload = orjson.loads(body)
    except ValueError as error:
        raise Invalid(
            f"The body is not valid JSON: {error}.", fields={"body": "is not valid JSON"}
        ) from error
    if not isinstance(payload, dict):
        raise Invalid(
            f"The body must be a JSON object: the payload of {action}.",
            fields={"body": "must be a JSON object"},
        )
    payload_json = compact(body)
    try:
        parse(encode_call("0", action, payload_json))
        check_request(action, payload, "central")
    except (OcppError, FrameError) as error:
        raise Invalid(
            f"The payload breaks the schema of {action}: {error.description}.",
            detail=str(error),
            code="PayloadInvalid",
            fields={"body": error.description},
        ) from error
    json.loads(payload_json, object_pairs_hook=_once_each, parse_int=str, parse_float=str)
    return payload_json


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Invalid(
            f"The payload gives {twice} twice.",
            code="PayloadInvalid",
            fields={"body": f"gives {twice} twice"},
        )


def checked(action: str, body: bytes | dict[str, Any]) -> bytes:
    """Return the payload to send of a body that was sent, or that we built. Raises `Invalid`."""
    if isinstance(body, dict):
        try:
            body = orjson.dumps(body)
        except TypeError as error:  # half a surrogate pair, an integer over 64 bits, nested too deep
            raise Invalid(
                f"The payload of {action} cannot be written as JSON: {error}.",
                code="PayloadInvalid",
                fields={"body": str(error)},
            ) from error
    return payload_of(action, body)
