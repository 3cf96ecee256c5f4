"""What chargers reported of a person outside of sessions: reports in which a member names its tag."""

from collections.abc import AsyncIterator

from sqlalchemy import select

from ohmstead.accounts.personal_data import (
    Contribution,
    Found,
    Person,
    Rows,
    Sheet,
    change_each,
    columns_of,
    each,
)
from ohmstead.accounts.personal_data_tags import names_a_tag, without_tags
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.stations.models import Charger, ChargerReport

REPORTS = select(ChargerReport, Charger.backoffice_id).join(Charger, Charger.id == ChargerReport.charger_id)


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("reports", _reports(database, person))


async def _reports(database: Database, person: Person) -> Rows:
    query = REPORTS.where(names_a_tag(ChargerReport.payload, person.tags))
    async for row, business in each(database, query, [ChargerReport.id]):
        told = person.pseudonyms(business, row.received_at)
        if without_tags(row.payload, told) is not row.payload:
            yield columns_of(row)


async def _erase(database: Database, person: Person, _: Clock) -> None:
    def change(found: Found) -> None:
        row, business = found
        row.payload = without_tags(row.payload, person.pseudonyms(business, row.received_at))

    query = REPORTS.where(names_a_tag(ChargerReport.payload, person.tags))
    await change_each(database, query, [ChargerReport.id], change)


STATIONS = Contribution("stations", _sheets, _erase)
