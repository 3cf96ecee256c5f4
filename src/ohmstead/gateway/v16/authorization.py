"""Authorize (OCPP 1.6 4.1), and the IdTagInfo of every answer that carries one (7.8)."""

from typing import Any

from ohmstead.accounts.authorization import TokenDecision
from ohmstead.charging import service
from ohmstead.gateway.route import Context, Payload
from ohmstead.ocpp.timestamps import format_timestamp


def id_tag_info(decision: TokenDecision, status: str | None = None) -> dict[str, Any]:
    """Return the IdTagInfo of a decision; `status` overrides it (ConcurrentTx)."""
    info: dict[str, Any] = {"status": str(status or decision.status)}
    if decision.expires_at is not None:
        info["expiryDate"] = format_timestamp(decision.expires_at)
    if decision.parent_id_tag is not None:
        info["parentIdTag"] = decision.parent_id_tag
    return info


async def authorize(context: Context, payload: Payload) -> Payload:
    """Authorize.req: may this tag charge here?"""
    decision = await service.authorize(
        context.session, context.connection.charger, payload["idTag"], context.now
    )
    return {"idTagInfo": id_tag_info(decision)}
