"""The message log: every frame both ways, written with the facts of its message."""

from datetime import datetime
from typing import Any
from uuid import UUID

from ohmstead.core.http import utc_z
from ohmstead.core.live import Event, Topic
from ohmstead.gateway.writer import Connection
from ohmstead.ocpp.masking import mask

COPY = (
    "COPY gateway_message (received_at, charger_id, connection_id, direction, message_id, action,"
    " error_code, note, duration_ms, request, response) FROM STDIN"
)
ESCAPED = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
NULL = "\\N"
PLAIN = frozenset({"Heartbeat", "MeterValues", "StatusNotification"})
"""Actions whose strict schema has no member for a secret: only a URL in a text could hold one."""


class LogRow:
    """A row of the log: one CALL and its answer, masked, and cut to what fits: it is never refused."""

    __slots__ = (
        "action",
        "charger_id",
        "connection_id",
        "direction",
        "duration_ms",
        "error_code",
        "message_id",
        "note",
        "received_at",
        "request",
        "response",
    )

    def __init__(
        self,
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
    ) -> None:
        self.received_at = received_at
        self.charger_id = charger_id
        self.connection_id = connection_id
        self.direction = direction
        self.message_id = message_id
        self.action = action
        if action in PLAIN and "://" not in request:
            self.request, self.response = request, response
        else:
            self.request = mask(action, request)
            self.response = None if response is None else mask(action, response)
        self.error_code = error_code
        self.note = note
        self.duration_ms = duration_ms

    def line(self) -> str:
        """Return the row as a line of COPY's text format."""
        return (
            f"{self.received_at}\t{_text(self.charger_id, 48)}\t{self.connection_id}\t{self.direction}\t"
            f"{_text(self.message_id, 36)}\t{_text(self.action, 64)}\t{_text(self.error_code, 40)}\t"
            f"{_text(self.note, 500)}\t{NULL if self.duration_ms is None else self.duration_ms}\t"
            f"{_text(self.request)}\t{_text(self.response)}\n"
        )

    def event(self, backoffice_id: UUID | None, station_id: UUID | None) -> Event:
        """Return the row as an event of the live tail."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        data["received_at"] = utc_z(self.received_at)
        data["connection_id"] = str(self.connection_id)
        return Event(Topic.MESSAGES, "message", data, backoffice_id, station_id)


def _text(value: str | None, longest: int | None = None) -> str:
    """Write a text for COPY. A NUL, which PostgreSQL cannot hold, becomes its JSON escape."""
    if value is None:
        return NULL
    if longest is not None and len(value) > longest:
        value = value[:longest]
    if "\0" in value:
        value = value.replace("\0", "?" if longest is not None else "\\u0000")
    for character, escape in ESCAPED:
        if character in value:
            value = value.replace(character, escape)
    return value


async def write_messages(connection: Connection, rows: list[LogRow]) -> None:
    """Append rows to the log: COPY costs the least of all ways in, for both sides."""
    text = "".join([row.line() for row in rows])
    async with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        await copy.write(text)
