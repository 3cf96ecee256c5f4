"""DataTransfer (OCPP 1.6 4.3)."""

from ohmstead.gateway.route import Context, Payload
from ohmstead.stations.reports import keep_report


async def data_transfer(context: Context, payload: Payload) -> Payload:
    """DataTransfer.req: kept as a report; no vendor's extension is known here, and that is the answer."""
    await keep_report(context.session, context.connection.charger.id, "DataTransfer", payload, context.now)
    return {"status": "UnknownVendorId"}
