"""FirmwareStatusNotification (OCPP 1.6 4.5) and its signed sister (security whitepaper 5.12)."""

from ohmstead.gateway.route import Context, Payload
from ohmstead.stations.reports import keep_report


async def firmware_status(context: Context, payload: Payload) -> Payload:
    """FirmwareStatusNotification.req: how far an update is."""
    return await _keep(context, "FirmwareStatusNotification", payload)


async def signed_firmware_status(context: Context, payload: Payload) -> Payload:
    """SignedFirmwareStatusNotification.req: how far a signed update is."""
    return await _keep(context, "SignedFirmwareStatusNotification", payload)


async def _keep(context: Context, action: str, payload: Payload) -> Payload:
    await keep_report(
        context.session,
        context.connection.charger.id,
        action,
        payload,
        context.now,
        firmware_status=payload["status"],
    )
    return {}
