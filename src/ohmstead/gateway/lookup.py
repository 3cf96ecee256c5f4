"""What the database knows of a charger that knocks: read by one query, before the socket is opened."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, String, any_, literal, select, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ohmstead.charging.anomalies import measured
from ohmstead.charging.metering import OpenSession, max_power_w
from ohmstead.charging.service import ChargerRef
from ohmstead.ocpp.timestamps import parse_timestamp
from ohmstead.stations.models import Charger
from ohmstead.stations.status import Told

LOOKUP = text(
    """
SELECT charger.id, charger.backoffice_id, charger.station_id, charger.registration,
       charger.security_profile, charger.password_hash, charger.tolerant, charger.simulated,
       charger.retired_at IS NOT NULL AS retired, charger.online, charger.presence_since,
       EXISTS (SELECT 1 FROM notifications_alert alert
                WHERE alert.kind = 'ChargerOffline' AND alert.subject = charger.id
                  AND alert.cleared_at IS NULL) AS alerted,
       charger.boot_awaited OR EXISTS (SELECT 1 FROM fleet_campaign_item item
                WHERE item.charger_id = charger.id AND item.state IN ('Queued', 'Away')) AS awaited,
       (SELECT coalesce(json_agg(next.password_hash ORDER BY next.at DESC), '[]')
          FROM stations_next_password next WHERE next.charger_id = charger.id) AS next_passwords,
       (SELECT coalesce(json_agg(json_build_object(
               'id', session.id, 'transaction_id', session.ocpp_transaction_id,
               'connector_id', session.connector_id, 'started_at', session.started_at,
               'received_at', session.received_at,
               'energy_wh', session.energy_wh::text, 'register_wh', session.register_wh::text,
               'last_sample_at', session.last_sample_at, 'power_w', session.power_w,
               'soc_percent', session.soc_percent, 'anomalies', session.anomalies)), '[]')
          FROM charging_session session
         WHERE session.charger_id = charger.id AND session.status = 'Active'
           AND NOT session.unmatched) AS sessions,
       (SELECT coalesce(json_agg(json_build_object(
               'connector_id', connector.connector_id, 'status', connector.status,
               'error_code', connector.error_code, 'at', connector.status_at,
               'received_at', connector.status_received_at,
               'max_power_kw', connector.max_power_kw)), '[]')
          FROM stations_connector connector WHERE connector.charger_id = charger.id) AS connectors
  FROM stations_charger charger
 WHERE charger.id = :id
"""
)


@dataclass(frozen=True, slots=True)
class LetInBy:
    """What a charger is let in by: a socket is closed when it changes."""

    retired: bool
    security_profile: int
    password_hash: str | None
    tolerant: bool


@dataclass(frozen=True, slots=True)
class Known:
    """A charger, its open sessions and its connectors, as the database has them."""

    id: str
    backoffice_id: UUID | None
    station_id: UUID | None
    registration: str
    security_profile: int
    password_hash: str | None
    tolerant: bool
    simulated: bool
    retired: bool
    online: bool
    presence_since: datetime | None
    alerted: bool
    awaited: bool
    next_passwords: list[str]
    sessions: list[dict[str, Any]]
    connectors: list[dict[str, Any]]

    @property
    def ref(self) -> ChargerRef:
        """Return what the messages of this charger need to know of it."""
        return ChargerRef(self.id, self.backoffice_id, self.station_id, self.registration, self.simulated)

    @property
    def let_in_by(self) -> LetInBy:
        """Return what its socket must not outlive."""
        return LetInBy(self.retired, self.security_profile, self.password_hash, self.tolerant)

    def told(self) -> dict[int, Told]:
        """Return what each connector last told."""
        return {
            one["connector_id"]: Told(
                one["status"],
                one["error_code"],
                parse_timestamp(one["at"]) if one["at"] else None,
                parse_timestamp(one["received_at"]) if one["received_at"] else None,
            )
            for one in self.connectors
            if one["status"] is not None
        }

    def open_sessions(self) -> dict[int, OpenSession]:
        """Return the open sessions by their transaction id."""
        power = {one["connector_id"]: max_power_w(one["max_power_kw"]) for one in self.connectors}
        return {
            one["transaction_id"]: _open_session(one, power.get(one["connector_id"], max_power_w(None)))
            for one in self.sessions
        }


async def look_up(engine: AsyncEngine, identity: str) -> Known | None:
    """Read a charger by its identity. Raises what the driver raises when the database is away."""
    if "\0" in identity:  # nothing in the database has it, and PostgreSQL would refuse to look
        return None
    async with engine.connect() as connection:
        row = (await connection.execute(LOOKUP, {"id": identity})).mappings().one_or_none()
    return None if row is None else Known(**row)


async def let_in_by(
    session: AsyncSession, charger_ids: Collection[str]
) -> dict[str, tuple[ChargerRef, LetInBy]]:
    """Read as what and by what chargers would be let in now; those that are no more are left out."""
    rows = await session.execute(
        select(
            Charger.id,
            Charger.backoffice_id,
            Charger.station_id,
            Charger.registration,
            Charger.simulated,
            Charger.retired_at.is_not(None).label("retired"),
            Charger.security_profile,
            Charger.password_hash,
            Charger.tolerant,
        ).where(Charger.id == any_(literal(list(charger_ids), ARRAY(String))))
    )
    return {
        row.id: (
            ChargerRef(row.id, row.backoffice_id, row.station_id, row.registration, row.simulated),
            LetInBy(row.retired, row.security_profile, row.password_hash, row.tolerant),
        )
        for row in rows
    }


def _open_session(row: dict[str, Any], power: int) -> OpenSession:
    started_at = parse_timestamp(row["started_at"])
    return OpenSession(
        id=UUID(row["id"]),
        transaction_id=row["transaction_id"],
        connector_id=row["connector_id"],
        started_at=started_at,
        received_at=parse_timestamp(row["received_at"]),
        energy_wh=Decimal(row["energy_wh"] or 0),
        register_wh=None if row["register_wh"] is None else Decimal(row["register_wh"]),
        last_sample_at=parse_timestamp(row["last_sample_at"]) if row["last_sample_at"] else started_at,
        max_power_w=power,
        power_w=row["power_w"],
        soc_percent=row["soc_percent"],
        anomalies=row["anomalies"],
        trusted=not measured(row["anomalies"]),
    )
