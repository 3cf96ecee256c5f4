"""StartTransaction and StopTransaction (OCPP 1.6 4.8 and 4.10)."""

import json
import re
from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson

from ohmstead.charging import service
from ohmstead.charging.counting import short_form
from ohmstead.charging.models import SessionStatus
from ohmstead.charging.service import Stop
from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.authorization import id_tag_info
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.frames import CALL
from ohmstead.ocpp.timestamps import parse_timestamp

STOP = "StopTransaction"
DEFAULT_REASON = "Local"
"""OCPP 1.6 6.49: the reason may be left out only when it is Local."""

_ESCAPED_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""A NUL in JSON text: an odd number of backslashes before `u0000`."""


async def start_transaction(context: Context, payload: Payload) -> Payload:
    """StartTransaction.req: the same start again gets the same answer.

    The connector must be above 0 (OCPP 1.6 6.45). A negative one is refused, as in a StatusNotification; 0
    is taken and noted, since a refused start would lose the session of a car that charges all the same.
    """
    connection = context.connection
    if payload["connectorId"] < 0:
        what = f"connectorId is {payload['connectorId']}, it must be above 0"
        raise OcppError(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, what)
    started = await service.start(
        context.session,
        connection.charger,
        connector_id=payload["connectorId"],
        id_tag=payload["idTag"],
        meter_start=payload["meterStart"],
        started_at=parse_timestamp(payload["timestamp"]),
        reservation_id=payload.get("reservationId"),
        now=context.now,
    )
    opened = short_form(started.session, started.max_power_w)

    def after() -> None:
        for transaction_id in started.replaced:
            connection.sessions.pop(transaction_id, None)
        if started.session.status == SessionStatus.ACTIVE:
            connection.sessions[opened.transaction_id] = opened

    context.after.append(after)
    return {
        "transactionId": started.session.ocpp_transaction_id,
        "idTagInfo": id_tag_info(started.decision, started.status),
    }


async def stop_transaction(context: Context, payload: Payload) -> Payload:
    """StopTransaction.req: always answered, whatever it names; the tag's info only if one was sent."""
    return await _stop(
        context,
        Stop(
            transaction_id=payload["transactionId"],
            meter_stop=payload["meterStop"],
            stopped_at=parse_timestamp(payload["timestamp"]),
            id_tag=payload.get("idTag"),
            reason=payload.get("reason", DEFAULT_REASON),
            transaction_data=payload.get("transactionData", []),
            raw=payload,
        ),
    )


async def refused_stop(context: Context, payload: Payload) -> Payload:
    """Keep a StopTransaction that breaks the schema, with whatever of it can be read."""
    id_tag, reason = payload.get("idTag"), payload.get("reason", DEFAULT_REASON)
    raw = orjson.loads(_ESCAPED_NUL.sub(rb"\1?", orjson.dumps(payload)))
    told = Stop(
        transaction_id=_integer(payload.get("transactionId")),
        meter_stop=_integer(payload.get("meterStop")),
        stopped_at=_time(payload.get("timestamp")),
        id_tag=id_tag[:20].replace("\0", "?") if isinstance(id_tag, str) else None,
        reason=reason[:40].replace("\0", "?") if isinstance(reason, str) else DEFAULT_REASON,
        transaction_data=[],
        raw=raw,
    )
    await service.keep_unmatched(context.session, context.connection.charger, told, context.now)
    return {}


def stop_in(text: str) -> Payload | None:
    """Return what a StopTransaction says whose frame cannot be read as one; None if it is none.

    That is a frame of five elements, one whose id is a number or too long, or whose payload is no object or
    has an integer of more than 64 bits (which is kept as text). What cannot be written is left out.
    """
    if STOP not in text:
        return None
    try:
        frame = json.loads(text, parse_int=_small_integer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frame, list) or frame[:1] != [CALL] or STOP not in frame[2:3]:
        return None
    payload = frame[3] if len(frame) > 3 else None
    stop: Payload = payload if isinstance(payload, dict) else {"payload": payload}
    return {name: value for name, value in stop.items() if _can_be_written({name: value})}


async def _stop(context: Context, told: Stop) -> Payload:
    connection = context.connection
    row = await service.stop(context.session, connection.charger, told, context.now)
    if not row.unmatched and row.status == SessionStatus.COMPLETED and row.ocpp_transaction_id is not None:
        ended = row.ocpp_transaction_id
        context.after.append(lambda: _forget(context, ended))
    if told.id_tag is None:
        return {}
    decision = await service.authorize(context.session, connection.charger, told.id_tag, context.now)
    return {"idTagInfo": id_tag_info(decision)}


def _forget(context: Context, transaction_id: int) -> None:
    context.connection.sessions.pop(transaction_id, None)


def _can_be_written(value: Payload) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:  # nested too deeply, or half a character
        return False
    return True


def _small_integer(digits: str) -> int | str:
    """Return an integer as it is if 64 bits hold it, else as text."""
    return digits if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63 else int(digits)


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        with suppress(ValueError):
            return parse_timestamp(value)
    return None
