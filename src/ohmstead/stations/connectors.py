"""The connectors of a charger, as an operator declares them."""

from datetime import datetime

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.core.errors import Conflict
from ohmstead.core.http import utc_z
from ohmstead.core.jobs import emit
from ohmstead.stations import history
from ohmstead.stations.chargers_schemas import ConnectorIn
from ohmstead.stations.models import Connector, ConnectorStatus
from ohmstead.stations.status import CONNECTOR_RECOVERED


async def declare(
    session: AsyncSession, charger_id: str, wanted: int | list[ConnectorIn], now: datetime
) -> None:
    """Bring the connectors of a charger to what was declared.

    A list is merged by number, and what it does not name stays. A number n makes sure that 1 to n
    exist and removes those above, or raises `Conflict` when one of them had a session. What a removed one
    told stays in the history of the charger; it is there again when it tells more. Rows are written in the
    order of their numbers, as everybody does who writes several, and over those that the charger itself
    brings at the same moment.
    """
    if isinstance(wanted, int):
        await _drop_above(session, charger_id, wanted, now)
        wanted = [ConnectorIn(connector_id=number) for number in range(1, wanted + 1)]
    for one in sorted(wanted, key=lambda connector: connector.connector_id):
        given = one.model_dump(include=one.model_fields_set - {"connector_id"})
        place = insert(Connector).values(charger_id=charger_id, connector_id=one.connector_id, **given)
        if given:
            place = place.on_conflict_do_update(index_elements=["charger_id", "connector_id"], set_=given)
        else:
            place = place.on_conflict_do_nothing()
        await session.execute(place)


async def _drop_above(session: AsyncSession, charger_id: str, last: int, now: datetime) -> None:
    above = (Connector.charger_id == charger_id, Connector.connector_id > last)
    if not await session.scalar(select(exists().where(*above))):
        return
    if await history.sessions_of_charger(session, charger_id, above_connector=last):
        raise Conflict(
            f"Charger {charger_id} has connectors above {last} that had a session:"
            " they cannot be removed, their history would lose its place.",
            code="ConnectorInUse",
            fields={"connectors": f"connectors above {last} had sessions"},
        )
    statement = delete(Connector).where(*above).returning(Connector.connector_id, Connector.status)
    for number, status in (await session.execute(statement)).all():
        if status == ConnectorStatus.FAULTED:
            facts = {"charger_id": charger_id, "connector_id": number, "at": utc_z(now)}
            await emit(session, CONNECTOR_RECOVERED, **facts)
