"""DiagnosticsStatusNotification (OCPP 1.6 4.4) and LogStatusNotification (security whitepaper 5.6)."""

from ohmstead.fleet.diagnostics import telling
from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.reporting import report


async def diagnostics_status(context: Context, payload: Payload) -> Payload:
    """DiagnosticsStatusNotification.req: how far an upload of diagnostics is."""
    await _tell(context, "DiagnosticsStatusNotification", payload, log=False)
    return {}


async def log_status(context: Context, payload: Payload) -> Payload:
    """LogStatusNotification.req: how far an upload of a log is."""
    await _tell(context, "LogStatusNotification", payload, log=True)
    return {}


async def _tell(context: Context, action: str, payload: Payload, *, log: bool) -> None:
    status = payload["status"]
    await report(context, action, payload, diagnostics_status=status)
    charger_id = context.connection.charger.id
    request_id = payload.get("requestId")
    await telling.told(context.session, charger_id, status, request_id, context.now, log=log)
