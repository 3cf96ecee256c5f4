"""What charging profiles follow from sessions: a TxProfile ends with its own."""

from uuid import UUID

from procrastinate import Blueprint, JobContext

from ohmstead.charging import events
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.core.db import Database
from ohmstead.core.jobs import RETRY, Subscribers
from ohmstead.energy import service
from ohmstead.energy.queries import running_session

NAMESPACE = "energy"

blueprint = Blueprint()


@blueprint.task(name="session_ended", pass_context=True, retry=RETRY)
async def session_ended(context: JobContext, *, session_id: str) -> None:
    """Forget the TxProfiles of an ended session, unless another one runs at its connector by now."""
    database: Database = context.additional_context["database"]
    async with database.session() as session:
        ended = await session.get(Session, UUID(session_id))
        if ended is None or ended.status != SessionStatus.COMPLETED or ended.connector_id is None:
            return
        if await running_session(session, ended.charger_id, ended.connector_id) is None:
            last = await running_session(session, ended.charger_id) is None
            await service.session_ended(session, ended.charger_id, ended.connector_id, last=last)


SUBSCRIBERS: Subscribers = {events.SESSION_ENDED: [f"{NAMESPACE}:session_ended"]}
