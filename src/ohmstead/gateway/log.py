"""The message log: every frame both ways, written with the facts of its message."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ohmstead.core.facts import FactKind, Row
from ohmstead.core.live import Event, Topic
from ohmstead.ocpp.masking import mask

INSERT = """
INSERT INTO gateway_message
       (received_at, charger_id, connection_id, direction, message_id, action, request, response,
        error_code, note, duration_ms)
SELECT received_at, charger_id, connection_id, direction, message_id, action, request, response,
       error_code, note, duration_ms
  FROM json_to_recordset(%s::json) AS row(
       received_at timestamptz, charger_id text, connection_id uuid, direction text, message_id text,
       action text, request text, response text, error_code text, note text, duration_ms float8)
"""

MESSAGE = FactKind("message", (INSERT,))
"""A row of the log: see `message_row`."""

LOOKED_AT = 2_000
"""Characters of a text that is masked although only its beginning is kept: masking takes time."""

PLAIN = frozenset({"Heartbeat", "MeterValues", "StatusNotification"})
"""Actions whose strict schema has no member for a secret: only a URL in a text could hold one."""


def message_row(
    *,
    received_at: datetime,
    charger_id: str,
    connection_id: str,
    direction: str,
    message_id: str | None,
    action: str | None,
    request: str,
    response: str | None,
    error_code: str | None = None,
    note: str | None = None,
    duration_ms: float | None = None,
) -> Row:
    """Build a row of the log: one CALL and its answer, masked, and cut to what fits: it is never refused."""
    # A backslash may hide what it escapes: a slash of a URL, or a NUL in the message id.
    odd = "://" in request or "\\" in request or note is not None or error_code is not None
    if odd or action not in PLAIN:
        request = _storable(mask(action, request))
        response = None if response is None else _storable(mask(action, response))
        action = None if action is None else _storable(mask(None, action[:LOOKED_AT]))[:64]
        message_id = None if message_id is None else _storable(message_id[:36])[:36]
        note = None if note is None else _storable(mask(None, note[:LOOKED_AT]))[:500]
        error_code = None if error_code is None else _storable(error_code[:40])[:40]
    return {
        "received_at": received_at,
        "charger_id": charger_id,
        "connection_id": connection_id,
        "direction": direction,
        "message_id": message_id,
        "action": action,
        "request": request,
        "response": response,
        "error_code": error_code,
        "note": note,
        "duration_ms": duration_ms,
    }


def message_event(row: Row, backoffice_id: UUID | None, station_id: UUID | None) -> Event:
    """Return a row as an event of the live tail."""
    data: dict[str, Any] = {**row, "received_at": row["received_at"].isoformat().replace("+00:00", "Z")}
    return Event(Topic.MESSAGES, "message", data, backoffice_id, station_id)


def _storable(text: str) -> str:
    """Write a NUL, which PostgreSQL cannot hold, as JSON would."""
    return text.replace("\0", "\\u0000") if "\0" in text else text
