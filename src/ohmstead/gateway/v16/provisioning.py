"""BootNotification (OCPP 1.6 4.2)."""

import dataclasses

from sqlalchemy import update

from ohmstead.core.db import publish
from ohmstead.core.live import Event, Topic
from ohmstead.gateway.route import Context, Payload
from ohmstead.ocpp.errors import ErrorCode, OcppError
from ohmstead.ocpp.timestamps import format_timestamp
from ohmstead.stations.models import Charger, Registration


async def boot_notification(context: Context, payload: Payload) -> Payload:
    """BootNotification.req: keep what the charger says of itself, tell it whether it is accepted.

    Until it is, the interval is when it should ask again, else that of its heartbeats.
    """
    connection = context.connection
    registration = await context.session.scalar(
        update(Charger)
        .where(Charger.id == connection.charger.id)
        .values(
            vendor=payload["chargePointVendor"],
            model=payload["chargePointModel"],
            serial_number=payload.get("chargePointSerialNumber") or payload.get("chargeBoxSerialNumber"),
            firmware_version=payload.get("firmwareVersion"),
            iccid=payload.get("iccid"),
            imsi=payload.get("imsi"),
            meter_type=payload.get("meterType"),
            meter_serial_number=payload.get("meterSerialNumber"),
            last_boot_at=context.now,
            last_seen=context.now,
        )
        .returning(Charger.registration)
    )
    if registration is None:
        raise OcppError(ErrorCode.SECURITY_ERROR, "this charger has been removed")
    charger = dataclasses.replace(connection.charger, registration=registration)

    def accepted() -> None:
        connection.charger = charger

    context.after.append(accepted)
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
    settings = connection.gateway.settings
    waits = registration != Registration.ACCEPTED
    return {
        "currentTime": format_timestamp(context.now),
        "interval": min(60, settings.ocpp_heartbeat_interval) if waits else settings.ocpp_heartbeat_interval,
        "status": str(registration),
    }
