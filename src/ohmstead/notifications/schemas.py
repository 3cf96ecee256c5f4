"""Alerts as they go out over HTTP and live."""

from typing import Any
from uuid import UUID

from ohmstead.core.http import Schema, UtcTime


class AlertOut(Schema):
    """One thing to look at; open while `cleared_at` is null. `severity` is INFO, WARN or CRITICAL."""

    id: UUID
    kind: str
    subject: str
    severity: str
    title: str
    message: str
    backoffice_id: UUID | None
    station_id: UUID | None
    charger_id: str | None
    raised_at: UtcTime
    cleared_at: UtcTime | None
    data: dict[str, Any]
