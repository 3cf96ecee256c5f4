"""What charging tells others: live events of sessions, and the facts that become jobs."""

from typing import Any, Protocol
from uuid import UUID

from ohmstead.charging.metering import OpenSession
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.core.http import utc_z
from ohmstead.core.live import Event, Topic

SESSION_STARTED = "SessionStarted"
SESSION_ENDED = "SessionEnded"
SESSION_CORRECTED = "SessionCorrected"
SESSION_CLOSED_BY_RULE = "SessionClosedByRule"
STOP_UNMATCHED = "StopUnmatched"


def session_data(session: Session) -> dict[str, Any]:
    """Return what watchers see of a session; the names are those of the admin API."""
    return {
        "id": str(session.id),
        "ocpp_transaction_id": session.ocpp_transaction_id,
        "charger_id": session.charger_id,
        "connector_id": session.connector_id,
        "station_id": str(session.station_id) if session.station_id else None,
        "id_tag": session.id_tag,
        "status": session.status,
        "started_at": utc_z(session.started_at) if session.started_at else None,
        "stopped_at": utc_z(session.stopped_at) if session.stopped_at else None,
        "energy_wh": float(session.energy_wh) if session.energy_wh is not None else None,
        "power_w": session.power_w,
        "soc_percent": session.soc_percent,
        "stop_reason": session.stop_reason,
        "closed_by": session.closed_by,
        "unmatched": session.unmatched,
    }


def session_event(kind: str, session: Session) -> Event:
    """Return a live event (`session.started`, `session.updated`, `session.ended`) of a session."""
    return Event(Topic.SESSIONS, kind, session_data(session), session.backoffice_id, session.station_id)


class Owned(Protocol):
    """A charger, as far as it matters whose it is."""

    @property
    def id(self) -> str:
        """The OCPP identity."""

    @property
    def backoffice_id(self) -> UUID | None:
        """The business."""

    @property
    def station_id(self) -> UUID | None:
        """The station."""


def session_figures_event(session: OpenSession, charger: Owned) -> Event:
    """Return the `session.updated` of new meter values: the members that change while charging."""
    data = {
        "id": str(session.id),
        "ocpp_transaction_id": session.transaction_id,
        "charger_id": charger.id,
        "connector_id": session.connector_id,
        "station_id": str(charger.station_id) if charger.station_id else None,
        "status": SessionStatus.ACTIVE,
        "energy_wh": float(session.energy_wh),
        "power_w": session.power_w,
        "soc_percent": session.soc_percent,
        "last_sample_at": utc_z(session.last_sample_at),
    }
    return Event(Topic.SESSIONS, "session.updated", data, charger.backoffice_id, charger.station_id)
