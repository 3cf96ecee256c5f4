"""Campaigns on a database whose commits are real, with dispatchers that a test starts itself."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.fleet.campaigns.kinds import Scripted
from tests.world import World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.files import Files
from ohmstead.fleet.campaigns import service
from ohmstead.fleet.campaigns.dispatcher import Dispatcher
from ohmstead.fleet.campaigns.mending import mend_all
from ohmstead.fleet.campaigns.models import Campaign, CampaignItem
from ohmstead.fleet.campaigns.schemas import CampaignIn
from ohmstead.fleet.campaigns.state import Event
from ohmstead.fleet.campaigns.work import Kind, Means
from ohmstead.link.links import Links
from ohmstead.stations.models import Charger, Station
from ohmstead.stations.outcomes import Commands, Outcomes
from ohmstead.worker import create_jobs

EMPTIED = (
    "fleet_campaign",
    "stations_charger",
    "stations_station",
    "accounts_user",
    "accounts_backoffice",
    "procrastinate_events",
    "procrastinate_jobs",
)
"""Emptied after each test: to truncate them would lock every table that refers to them."""


@dataclass
class Fleet:
    """Chargers, campaigns and dispatchers on one database."""

    database: Database
    settings: Settings
    clock: FrozenClock
    world: World
    scripted: Scripted
    kinds: dict[str, Kind]
    dispatchers: list[Dispatcher]

    async def chargers(self, number: int, **fields: Any) -> list[Charger]:
        """Make chargers of one station, connected if nothing else is said."""
        station = await self.world.station()
        values = {"online": True, **fields}
        return [await self.world.charger(station, connectors=1, **values) for _ in range(number)]

    async def campaign(
        self,
        chargers: list[Charger],
        *,
        principal: Principal | None = None,
        also: dict[str, Any] | None = None,
        **fields: Any,
    ) -> UUID:
        """Make a campaign for these chargers; it works on none before a dispatcher is woken."""
        wanted = CampaignIn.model_validate(
            {
                "kind": "Scripted",
                "chargers": {"charger_ids": [charger.id for charger in chargers], **(also or {})},
                "retry_seconds": 0,
                "stop_at_error_percent": None,
                **fields,
            }
        )
        async with self.database.session() as session:
            by = principal or await self.principal(Role.SYSTEM_ADMIN)
            made = await service.create_campaign(session, by, self.clock.now(), wanted, self.kinds)
        return made.id

    async def principal(
        self, role: Role, backoffice: Backoffice | None = None, stations: tuple[Station, ...] = ()
    ) -> Principal:
        """Make a user and return it as who asks."""
        user = await self.world.user(role, backoffice, stations)
        return Principal(
            user_id=user.id,
            email=user.email,
            role=role,
            backoffice_id=backoffice.id if backoffice else None,
            station_ids=frozenset(station.id for station in stations),
        )

    def dispatcher(self) -> Dispatcher:
        """Start a further process, as far as campaigns are concerned; it is woken."""
        links = Links()
        commands = Commands(self.database, links, self.clock, Outcomes())
        files = Files(self.settings, self.database, self.clock)
        made = Dispatcher(Means(self.database, commands, self.settings, self.clock, files), self.kinds)
        self.dispatchers.append(made)
        made.wake()
        return made

    async def items(self, campaign_id: UUID) -> dict[str, CampaignItem]:
        """Return the items of a campaign by the charger's id."""
        async with self.database.session() as session:
            query = select(CampaignItem).where(CampaignItem.campaign_id == campaign_id)
            return {item.charger_id: item for item in await session.scalars(query.order_by(CampaignItem.id))}

    async def row(self, campaign_id: UUID) -> Campaign:
        async with self.database.session() as session:
            return (await session.scalars(select(Campaign).where(Campaign.id == campaign_id))).one()

    async def tell(self, campaign_id: UUID, event: Event) -> None:
        """Pause, resume or cancel a campaign."""
        async with self.database.session() as session:
            by = await self.principal(Role.SYSTEM_ADMIN)
            await service.change_campaign(session, by, campaign_id, event, self.clock.now())

    async def change(self, statement: str, **values: Any) -> None:
        """Change rows as somebody else would."""
        async with self.database.session() as session:
            await session.execute(text(statement), values)

    async def mend(self) -> None:
        """Do what is done once a minute."""
        await mend_all(self.database, self.kinds, self.clock.now())
        for one in self.dispatchers:
            one.wake()

    async def reach(self, campaign_id: UUID, **counts: int) -> dict[str, CampaignItem]:
        """Wait until so many items are in each state; the dispatchers are woken as by their jobs."""

        async def reached() -> dict[str, CampaignItem] | None:
            for one in self.dispatchers:
                one.wake()
            items = await self.items(campaign_id)
            return items if Counter(item.state for item in items.values()) == counts else None

        items: dict[str, CampaignItem] = await until(reached)
        return items

    async def jobs(self) -> list[Any]:
        """Return when the queued jobs of the campaigns are due."""
        async with self.database.session() as session:
            query = text(
                "SELECT scheduled_at FROM procrastinate_jobs WHERE task_name = 'campaigns:work' ORDER BY id"
            )
            return list(await session.scalars(query))


@pytest.fixture(scope="module")
def fleet_url(database_factory: Callable[[str], str]) -> str:
    return database_factory("campaigns")


@pytest.fixture
async def fleet(fleet_url: str, settings: Settings, clock: FrozenClock) -> AsyncIterator[Fleet]:
    """A fleet whose dispatchers are stopped at the end, and whose rows are gone then."""
    database = Database(fleet_url)
    database.session_info["jobs"] = create_jobs(fleet_url)
    scripted = Scripted()
    kinds = {"Scripted": scripted.kind}
    made = Fleet(database, settings, clock, World(database, settings, clock), scripted, kinds, [])
    yield made
    scripted.gate.set()
    for one in made.dispatchers:
        await one.stop()
    for table in EMPTIED:
        await made.change(f"DELETE FROM {table}")  # noqa: S608 # a name of ours
    await database.close()
