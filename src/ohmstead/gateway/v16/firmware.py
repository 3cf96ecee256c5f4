"""FirmwareStatusNotification (OCPP 1.6 4.5) and its signed sister (security whitepaper 5.12)."""

from ohmstead.fleet.firmware import telling
from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.reporting import report


async def firmware_status(context: Context, payload: Payload) -> Payload:
    """FirmwareStatusNotification.req: how far an update is."""
    await _tell(context, "FirmwareStatusNotification", payload, signed=False)
    return {}


async def signed_firmware_status(context: Context, payload: Payload) -> Payload:
    """SignedFirmwareStatusNotification.req: how far a signed update is."""
    await _tell(context, "SignedFirmwareStatusNotification", payload, signed=True)
    return {}


async def _tell(context: Context, action: str, payload: Payload, *, signed: bool) -> None:
    status = payload["status"]
    await report(context, action, payload, firmware_status=status)
    charger_id = context.connection.charger.id
    request_id = payload.get("requestId")
    await telling.told(context.session, charger_id, status, request_id, context.now, signed=signed)
