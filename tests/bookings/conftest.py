"""A charger that can be asked to reserve, and what is kept of it."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.conftest import FrozenClock
from tests.stations.links import FakeLink
from tests.world import SignedIn, World

from ohmstead.charging.models import Session
from ohmstead.charging.service import ChargerRef, start
from ohmstead.core.db import Database
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

UNTIL = "2026-05-04T13:00:00Z"


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


class Desk:
    """Reserves, cancels and starts at one charger, and reads what is kept."""

    def __init__(
        self, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, clock: FrozenClock
    ) -> None:
        self.app, self.client, self.admin, self.charger, self.clock = app, client, admin, charger, clock

    def says(self, *answers: str | Answer | Exception) -> FakeLink:
        """Connect the charger: so it answers, a word being a status."""
        link = FakeLink(
            *(Answer(response={"status": one}) if isinstance(one, str) else one for one in answers)
        )
        self.app.state.links.attach(self.charger.id, link)
        return link

    async def post(self, path: str, body: Any = None) -> httpx.Response:
        return await self.client.post(f"/api/admin{path}", json=body, headers=self.admin.headers)

    async def command(self, action: str, body: dict[str, Any]) -> httpx.Response:
        return await self.post(f"/chargers/{self.charger.id}/commands/{action}", body)

    async def reserve_raw(self, number: int = 7, connector: int = 1, tag: str = "OURS", **more: Any) -> Any:
        """Send a ReserveNow as an operator's raw command; returns what was answered."""
        body = {
            "reservationId": number,
            "connectorId": connector,
            "idTag": tag,
            "expiryDate": UNTIL,
            **more,
        }
        return (await self.command("ReserveNow", body)).json()

    async def kept(self, **params: Any) -> list[dict[str, Any]]:
        """The reservations of the charger, the newest first."""
        params = {"charger": self.charger.id, **params}
        page = await self.client.get("/api/admin/reservations", params=params, headers=self.admin.headers)
        assert page.status_code == 200, page.text
        items: list[dict[str, Any]] = page.json()["items"]
        return items

    async def one(self) -> dict[str, Any]:
        [row] = await self.kept()
        return row

    async def start(
        self, tag: str, reservation: int | None = None, connector: int = 1, minutes: float = 0
    ) -> Session:
        """Let the charger start a session, `minutes` before now."""
        database: Database = self.app.state.database
        now = self.clock.now()
        async with database.session() as session:
            started = await start(
                session,
                ChargerRef(self.charger.id, self.charger.backoffice_id, self.charger.station_id),
                connector_id=connector,
                id_tag=tag,
                meter_start=uuid4().int % 100_000,
                started_at=now.fromtimestamp(now.timestamp() - minutes * 60, tz=now.tzinfo),
                reservation_id=reservation,
                now=now,
            )
        return started.session


@pytest.fixture
def desk(
    app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, clock: FrozenClock
) -> Desk:
    return Desk(app, client, admin, charger, clock)


AsRole = Callable[..., Awaitable[SignedIn]]
