"""Heartbeat (OCPP 1.6 4.6) and StatusNotification (4.9)."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ohmstead.core.db import raw_connection
from ohmstead.core.facts import write_facts
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.core.live import Event, Topic
from ohmstead.gateway.route import Context, Hot, Payload
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.timestamps import format_timestamp, parse_timestamp
from ohmstead.stations.chargers_schemas import CONNECTORS_MAX
from ohmstead.stations.models import ConnectorStatus
from ohmstead.stations.status import (
    CONNECTOR_FAULTED,
    CONNECTOR_RECOVERED,
    STATUS,
    TOLD_ONLY,
    Told,
    is_late,
)

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection


def hot_heartbeat(_: "ChargerConnection", __: Payload, now: datetime) -> Hot:
    """Heartbeat.req: the charger sets its clock by the answer."""
    return Hot([], {"currentTime": format_timestamp(now)})


async def heartbeat(context: Context, _: Payload) -> Payload:
    """Heartbeat.req, when it does not go with a group."""
    return {"currentTime": format_timestamp(context.now)}


def hot_status_notification(connection: "ChargerConnection", payload: Payload, now: datetime) -> Hot | None:
    """StatusNotification.req with the next group, unless a fault begins or ends: others hear of that.

    A number above those that an operator may declare makes no connector: a charger could make them up
    without end.
    """
    row, told = _read(connection, payload, now)
    if row["connector_id"] > CONNECTORS_MAX:
        return Hot([(TOLD_ONLY, row)], {})
    known = connection.told.get(row["connector_id"])
    if _is_fault(told) or (known is not None and _is_fault(known)):
        return None
    return Hot([(STATUS, row)], {}, after=_telling(connection, row, told, now))


async def status_notification(context: Context, payload: Payload) -> Payload:
    """StatusNotification.req in a transaction of its own, with the facts that others hear of."""
    connection = context.connection
    row, told = _read(connection, payload, context.now)
    connector_id: int = row["connector_id"]
    known = connection.told.get(connector_id)
    await write_facts(await raw_connection(context.session), STATUS, [row])
    if known is None or not is_late(known, told, context.now):
        facts = {"charger_id": connection.charger.id, "connector_id": connector_id, "at": utc_z(context.now)}
        if _is_fault(told) and (known is None or not _is_fault(known)):
            await emit(
                context.session,
                CONNECTOR_FAULTED,
                error_code=row["error_code"],
                info=row["info"] or row["vendor_error_code"],
                **facts,
            )
        elif not _is_fault(told) and known is not None and _is_fault(known):
            await emit(context.session, CONNECTOR_RECOVERED, **facts)
    context.after.append(_telling(connection, row, told, context.now))
    return {}


def _read(connection: "ChargerConnection", payload: Payload, now: datetime) -> tuple[dict[str, Any], Told]:
    connector_id: int = payload["connectorId"]
    if not 0 <= connector_id < 2**31:
        what = f"connectorId is {connector_id}, it must be 0 or more, and of 32 bits"
        raise OcppError(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, what)
    stamp = payload.get("timestamp")
    at = parse_timestamp(stamp) if stamp is not None else None
    row = {
        "charger_id": connection.charger.id,
        "connector_id": connector_id,
        "status": payload["status"],
        "error_code": payload["errorCode"],
        "info": payload.get("info"),
        "vendor_id": payload.get("vendorId"),
        "vendor_error_code": payload.get("vendorErrorCode"),
        "at": at,
        "received_at": now,
    }
    return row, Told(row["status"], row["error_code"], at, now)


def _is_fault(told: Told) -> bool:
    return told.status == ConnectorStatus.FAULTED


def _telling(
    connection: "ChargerConnection", row: dict[str, Any], told: Told, now: datetime
) -> Callable[[], None]:
    """Return what follows the commit: remember the status, and tell watchers of a change."""

    def after() -> None:
        connector_id = row["connector_id"]
        known = connection.told.get(connector_id)
        if known is not None and is_late(known, told, now):
            return
        connection.told[connector_id] = told
        if known is not None and (known.status, known.error_code) == (told.status, told.error_code):
            return
        charger = connection.charger
        connection.gateway.live.publish(
            Event(
                Topic.CONNECTORS,
                "connector.status",
                {
                    "charger_id": charger.id,
                    "connector_id": connector_id,
                    "station_id": str(charger.station_id) if charger.station_id else None,
                    "status": told.status,
                    "error_code": told.error_code,
                    "info": row["info"],
                    "vendor_error_code": row["vendor_error_code"],
                    "since": utc_z(now),
                },
                charger.backoffice_id,
                charger.station_id,
            )
        )

    return after
