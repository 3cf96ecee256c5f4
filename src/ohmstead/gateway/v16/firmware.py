"""FirmwareStatusNotification (OCPP 1.6 4.5) and its signed sister (security whitepaper 5.12)."""

from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.reporting import report


async def firmware_status(context: Context, payload: Payload) -> Payload:
    """FirmwareStatusNotification.req: how far an update is."""
    await report(context, "FirmwareStatusNotification", payload, firmware_status=payload["status"])
    return {}


async def signed_firmware_status(context: Context, payload: Payload) -> Payload:
    """SignedFirmwareStatusNotification.req: how far a signed update is."""
    await report(context, "SignedFirmwareStatusNotification", payload, firmware_status=payload["status"])
    return {}
