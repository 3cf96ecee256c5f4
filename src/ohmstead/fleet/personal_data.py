"""What chargers hold and are told of a person: local lists and their rules, configuration, campaigns.

A list that held a card of somebody who was erased is taken for unknown, so that the next one goes out whole:
the charger must forget the card too.
"""

from sqlalchemy import Text, cast, text, update

from ohmstead.accounts.personal_data import PATIENCE, Contribution, Person, erasing
from ohmstead.core.clock import Clock
from ohmstead.core.db import Database
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.local_lists.models import LocalList, LocalListRule

_elsewhere = erasing(
    LocalListRule.tags,
    LocalList.detail,
    Campaign.parameters,
    Campaign.selection,
    CampaignItem.evidence,
    CampaignItem.detail,
)


async def _erase(database: Database, person: Person, clock: Clock) -> None:
    async with database.session() as session:
        await session.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}'"))
        for tag in person.tags.values():
            for column in (LocalList.entries, LocalList.open_entries):
                holds = cast(column, Text).icontains(f'"{tag}"', autoescape=True)
                await session.execute(
                    update(LocalList)
                    .where(holds)
                    .values({column: None, LocalList.digest: None, LocalList.tried: None})
                    .execution_options(synchronize_session=False)
                )
    await _elsewhere(database, person, clock)


FLEET = Contribution("fleet", erase=_erase)
