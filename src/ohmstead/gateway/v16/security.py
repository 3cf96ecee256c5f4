"""SecurityEventNotification and SignCertificate (security whitepaper 5.7 and 5.9)."""

from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.gateway.route import Context, Payload
from ohmstead.gateway.v16.reporting import report

SECURITY_EVENT = "SecurityEvent"


async def security_event(context: Context, payload: Payload) -> Payload:
    """SecurityEventNotification.req: kept, and told to whoever watches over security."""
    charger = context.connection.charger
    await report(context, "SecurityEventNotification", payload)
    await emit(
        context.session,
        SECURITY_EVENT,
        charger_id=charger.id,
        type=payload["type"],
        at=utc_z(context.now),
    )
    return {}


async def sign_certificate(context: Context, payload: Payload) -> Payload:
    """SignCertificate.req: the request is kept for whoever signs it; CertificateSigned brings the result."""
    await report(context, "SignCertificate", payload)
    return {"status": "Accepted"}
