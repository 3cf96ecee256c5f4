"""Commands to chargers: what an operator asks becomes the payload of a CALL."""

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
    Raises `Invalid` for what is no JSON object, breaks the schema of the action, or could not be put
    into a frame.
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
    return payload_json


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
