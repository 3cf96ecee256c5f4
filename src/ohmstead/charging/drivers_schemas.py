"""What goes out over HTTP to drivers: their sessions."""

from uuid import UUID

from pydantic import Field

from ohmstead.accounts.schemas import CamelSchema
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.charging.schemas import Number
from ohmstead.core.http import UtcTime


class DriverSession(CamelSchema):
    """A session as its driver sees it; what is null was never told by the charger, or is not yet."""

    id: UUID
    status: SessionStatus
    station_id: UUID | None
    station_name: str | None
    charger_id: str
    connector_id: int | None
    id_tag: str | None
    started_at: UtcTime | None
    stopped_at: UtcTime | None
    energy_wh: Number | None = Field(description="So far, while it is Active.")
    power_w: float | None
    soc_percent: float | None = Field(description="State of charge of the car.")
    stop_reason: str | None


def driver_session_of(row: Session, station_name: str | None) -> DriverSession:
    """Return a session as it goes out to its driver."""
    return DriverSession(
        id=row.id,
        status=SessionStatus(row.status),
        station_id=row.station_id,
        station_name=station_name,
        charger_id=row.charger_id,
        connector_id=row.connector_id,
        id_tag=row.id_tag,
        started_at=row.started_at,
        stopped_at=row.stopped_at,
        energy_wh=row.energy_wh,
        power_w=row.power_w,
        soc_percent=row.soc_percent,
        stop_reason=row.stop_reason,
    )
