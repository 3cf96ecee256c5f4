"""What chargers hold of a person: the entries of local lists, and the rules that name its cards.

A list that held a card of somebody who was erased is taken for unknown, so that the next one goes out whole:
the charger must forget the card too.
"""

from collections.abc import AsyncIterator

from sqlalchemy import or_, select

from ohmstead.accounts.personal_data import Contribution, Found, Person, Rows, Sheet, change_each, each
from ohmstead.accounts.personal_data_tags import names_a_tag, without_tags
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.fleet.local_lists.models import LocalList, LocalListRule
from ohmstead.stations.models import Charger

LISTS = select(LocalList, Charger.backoffice_id).join(Charger, Charger.id == LocalList.charger_id)
HELD = ("entries", "open_entries")


async def _sheets(database: Database, person: Person, _: Clock) -> AsyncIterator[Sheet]:
    yield Sheet("local_lists", _entries(database, person))
    yield Sheet("local_list_rules", _rules(database, person))


async def _entries(database: Database, person: Person) -> Rows:
    query = LISTS.where(names_a_tag(LocalList.entries, person.tags))
    async for row, business in each(database, query, [LocalList.charger_id]):
        own = person.pseudonyms(business)
        for entry in row.entries:
            if entry["idTag"].lower() in own:
                yield {"charger_id": row.charger_id, "version": row.version, "entry": entry}


async def _rules(database: Database, person: Person) -> Rows:
    query = select(LocalListRule).where(names_a_tag(LocalListRule.tags, person.tags))
    async for (row,) in each(database, query, [LocalListRule.id]):
        own = person.pseudonyms(row.backoffice_id)
        for tag in row.tags.get("id_tags", ()):
            if tag.lower() in own:
                yield {"station_id": row.station_id, "charger_id": row.charger_id, "id_tag": tag}


async def _erase(database: Database, person: Person, _: Clock) -> None:
    def forget(found: Found) -> None:
        row, business = found
        told = person.pseudonyms(business)
        for column in HELD:
            entries = getattr(row, column)
            if entries is not None and without_tags(entries, told) is not entries:
                setattr(row, column, None)
                row.digest = row.tried = None

    def rename(found: Found) -> None:
        rule: LocalListRule = found[0]
        rule.tags = without_tags(rule.tags, person.pseudonyms(rule.backoffice_id))

    held = or_(*(names_a_tag(getattr(LocalList, column), person.tags) for column in HELD))
    await change_each(database, LISTS.where(held), [LocalList.charger_id], forget)
    named = select(LocalListRule).where(names_a_tag(LocalListRule.tags, person.tags))
    await change_each(database, named, [LocalListRule.id], rename)


FLEET = Contribution("fleet", _sheets, _erase)
