"""The message log: every frame both ways, written with the facts of its message."""

from datetime import datetime
from uuid import UUID

from ohmstead.core.http import utc_z
from ohmstead.core.live import Event, Topic
from ohmstead.gateway.writer import Connection, Row
from ohmstead.ocpp.masking import mask

COPY = (
    "COPY gateway_message (received_at, charger_id, connection_id, direction, message_id, action,"
    " request, response, error_code, note, duration_ms) FROM STDIN"
)
COLUMNS = (
    "received_at",
    "charger_id",
    "connection_id",
    "direction",
    "message_id",
    "action",
    "request",
    "response",
    "error_code",
    "note",
    "duration_ms",
)
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def log_row(
    *,
    received_at: datetime,
    charger_id: str,
    connection_id: UUID,
    direction: str,
    message_id: str | None,
    action: str | None,
    request: str,
    response: str | None,
    error_code: str | None = None,
    note: str | None = None,
    duration_ms: float | None = None,
) -> Row:
    """Build a row of the log: masked, and of a length that fits, so that it can never be refused."""
    return {
        "received_at": received_at,
        "charger_id": charger_id,
        "connection_id": str(connection_id),
        "direction": direction,
        "message_id": message_id[:36].replace("\0", "") if message_id is not None else None,
        "action": action[:64].replace("\0", "") if action is not None else None,
        "request": mask(action, request).replace("\0", "\\u0000"),
        "response": mask(action, response).replace("\0", "\\u0000") if response is not None else None,
        "error_code": error_code[:40].replace("\0", "") if error_code is not None else None,
        "note": note[:500].replace("\0", "") if note is not None else None,
        "duration_ms": duration_ms,
    }


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    return str(value).translate(ESCAPES)


async def write_messages(connection: Connection, rows: list[Row]) -> None:
    """Append rows to the log: COPY costs the least of all ways in, for both sides."""
    text = "".join("\t".join([_field(row[column]) for column in COLUMNS]) + "\n" for row in rows)
    async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        await copy.write(text)


def log_event(row: Row, backoffice_id: UUID | None, station_id: UUID | None) -> Event:
    """Return the row as an event of the live tail."""
    data = {**row, "received_at": utc_z(row["received_at"])}
    return Event(Topic.MESSAGES, "message", data, backoffice_id, station_id)
