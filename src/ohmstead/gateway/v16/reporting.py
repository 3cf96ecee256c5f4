"""What the messages of diagnostics, firmware and security have in common: they are kept as reports."""

from typing import Any

from ohmstead.gateway.route import Context, Payload
from ohmstead.stations.reports import keep_report


async def report(context: Context, action: str, payload: Payload, **fields: Any) -> None:
    """Keep a message as a report of its charger, and set `fields` of the charger by it."""
    await keep_report(context.session, context.connection.charger.id, action, payload, context.now, **fields)
