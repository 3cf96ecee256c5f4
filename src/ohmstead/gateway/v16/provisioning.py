"""BootNotification (OCPP 1.6 4.2)."""

import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING

from sqlalchemy import func, update

from ohmstead.core.db import publish
from ohmstead.core.live import Event, Topic
from ohmstead.fleet import arrivals
from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.writer import DatabaseAway
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.timestamps import format_timestamp
from ohmstead.stations.models import Charger, Registration

if TYPE_CHECKING:
    from ohmstead.gateway.connection import ChargerConnection


async def _send_away(connection: "ChargerConnection") -> None:
    """Close the sockets of a retired charger, once the answer to its boot has left."""
    # That answer went to the writer before this task began, and leaves when its group is written.
    with suppress(DatabaseAway):
        await connection.gateway.writer.write()
    connection.gateway.links.disconnect(connection.charger.id, "the charger is retired")


async def boot_notification(context: Context, payload: Payload) -> Payload:
    """BootNotification.req: keep what the charger says of itself, tell it whether it is accepted.

    Until it is, the interval is when it should ask again, else that of its heartbeats. One that was retired
    while it connected is rejected and sent away: from now on its handshake is refused.
    """
    connection = context.connection
    # An operator may have told it for a charger that does not.
    serial_number = payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber")
    booted = await context.session.execute(
        update(Charger)
        .where(Charger.id == connection.charger.id)
        .values(
            vendor=payload["chargePointVendor"],
            model=payload["chargePointModel"],
            serial_number=func.coalesce(serial_number, Charger.serial_number),
            firmware_version=payload.get("firmwareVersion"),
            iccid=payload.get("iccid"),
            imsi=payload.get("imsi"),
            meter_type=payload.get("meterType"),
            meter_serial_number=payload.get("meterSerialNumber"),
            last_boot_at=context.now,
            boot_awaited=False,
            last_seen=context.now,
        )
        .returning(Charger.registration, Charger.retired_at, Charger.backoffice_id, Charger.station_id)
    )
    row = booted.one_or_none()
    if row is None:
        raise OcppError(ErrorCode.SECURITY_ERROR, "this charger has been removed")
    registration = row.registration if row.retired_at is None else Registration.REJECTED
    # Who was adopted a moment ago belongs to somebody from this boot on.
    charger = dataclasses.replace(
        connection.charger,
        registration=registration,
        backoffice_id=row.backoffice_id,
        station_id=row.station_id,
    )

    def accepted() -> None:
        connection.charger = charger

    context.after.append(accepted)
    if row.retired_at is not None:
        context.after.append(lambda: connection.gateway.spawn(_send_away(connection)))
    publish(
        context.session,
        Event(
            Topic.CHARGERS,
            "charger.booted",
            {
                "id": charger.id,
                "station_id": str(charger.station_id) if charger.station_id else None,
                "registration": registration,
                "vendor": payload["chargePointVendor"],
                "model": payload["chargePointModel"],
                "firmware_version": payload.get("firmwareVersion"),
            },
            charger.backoffice_id,
            charger.station_id,
        ),
    )
    interval = connection.gateway.settings.ocpp_heartbeat_interval
    if registration == Registration.ACCEPTED:
        interval = await arrivals.booted(context.session, charger, context.now) or interval
    else:
        interval = min(60, interval)
    return {
        "currentTime": format_timestamp(context.now),
        "interval": interval,
        "status": str(registration),
    }
