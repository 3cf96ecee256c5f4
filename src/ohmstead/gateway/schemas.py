"""What the admin API says of the OCPP edge: messages, refused handshakes, connections."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from ohmstead.core.http import Schema, UtcTime


class MessageOut(BaseModel):
    """One CALL and its answer, secrets masked. `direction` is `in` for a CALL of the charger.

    `request` and `response` are JSON where they are JSON, else the text as it came.
    """

    id: int
    received_at: UtcTime
    charger_id: str
    direction: Literal["in", "out"]
    message_id: str | None
    action: str | None
    request: Any
    response: Any
    error_code: str | None
    note: str | None
    duration_ms: float | None


class RefusalOut(Schema):
    """A handshake that was refused; `status` is the HTTP status that the charger got."""

    id: int
    at: UtcTime
    charger_id: str
    address: str | None
    status: int
    reason: str
    detail: str | None


class ConnectionOut(BaseModel):
    """One socket of a charger; `closed_at` is null while it is open, and `duration_seconds` counts to now."""

    id: UUID
    charger_id: str
    opened_at: UtcTime
    closed_at: UtcTime | None
    address: str | None
    close_code: int | None
    close_reason: str | None
    subprotocol: str | None
    security_profile: int
    duration_seconds: float
