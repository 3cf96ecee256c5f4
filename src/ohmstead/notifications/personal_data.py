"""What alerts say of a person: those about its sessions. They name the session, and nobody's tag."""

from collections.abc import AsyncIterator

from sqlalchemy import String, cast, select

from ohmstead.accounts.personal_data import Contribution, Person, Rows, Sheet, columns_of, each
from ohmstead.charging.models import Session
from ohmstead.charging.personal_data import of_person
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.notifications.models import Alert


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("alerts", _alerts(database, person))


async def _alerts(database: Database, person: Person) -> Rows:
    own = select(cast(Session.id, String)).where(of_person(person))
    query = select(Alert).where(Alert.data["session_id"].astext.in_(own))
    async for (row,) in each(database, query, [Alert.id]):
        yield columns_of(row)


ALERTS = Contribution("alerts", _sheets)
