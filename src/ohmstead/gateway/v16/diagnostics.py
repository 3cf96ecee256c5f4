"""DiagnosticsStatusNotification (OCPP 1.6 4.4) and LogStatusNotification (security whitepaper 5.6)."""

from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.reporting import report


async def diagnostics_status(context: Context, payload: Payload) -> Payload:
    """DiagnosticsStatusNotification.req: how far an upload of diagnostics is."""
    await report(context, "DiagnosticsStatusNotification", payload, diagnostics_status=payload["status"])
    return {}


async def log_status(context: Context, payload: Payload) -> Payload:
    """LogStatusNotification.req: how far an upload of a log is."""
    await report(context, "LogStatusNotification", payload, diagnostics_status=payload["status"])
    return {}
