"""DiagnosticsStatusNotification (OCPP 1.6 4.4) and LogStatusNotification (security whitepaper 5.6)."""

from ohmstead.gateway.route import Context, Payload
from ohmstead.stations.reports import keep_report


async def diagnostics_status(context: Context, payload: Payload) -> Payload:
    """DiagnosticsStatusNotification.req: how far an upload of diagnostics is."""
    return await _keep(context, "DiagnosticsStatusNotification", payload)


async def log_status(context: Context, payload: Payload) -> Payload:
    """LogStatusNotification.req: how far an upload of a log is."""
    return await _keep(context, "LogStatusNotification", payload)


async def _keep(context: Context, action: str, payload: Payload) -> Payload:
    await keep_report(
        context.session,
        context.connection.charger.id,
        action,
        payload,
        context.now,
        diagnostics_status=payload["status"],
    )
    return {}
