"""Photos of stations: who may give one, what is kept of it, who sees it."""

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from tests.core.test_pictures import SECRET, picture, seen
from tests.world import World

from ohmstead.accounts.models import Backoffice, Role
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.files import StoredFile
from ohmstead.stations.models import Station

LIMIT = 15_000_000


@pytest.fixture
async def business(world: World) -> Backoffice:
    return await world.backoffice()


@pytest.fixture
async def station(world: World, business: Backoffice) -> Station:
    return await world.station(business)


@pytest.fixture
async def manager(world: World, business: Backoffice, client: httpx.AsyncClient) -> httpx.AsyncClient:
    client.headers.update((await world.user(Role.BACKOFFICE, business)).headers)
    return client


def path(station: Station) -> str:
    return f"/api/admin/stations/{station.id}/photo"


async def stored(db: Database) -> list[tuple[str | None, bool]]:
    """The kind of each file, and whether it may go."""
    async with db.session() as session:
        rows = (await session.scalars(select(StoredFile).order_by(StoredFile.created_at))).all()
        return sorted((row.kind, row.dropped_at is not None) for row in rows)


class TestGiving:
    async def test_it_is_drawn_anew_and_everybody_sees_it_at_the_stations_address(
        self, manager: httpx.AsyncClient, station: Station, settings: Settings
    ) -> None:
        given = await manager.put(path(station), content=picture(comment=SECRET) + SECRET)
        assert given.status_code == 200, given.text
        url = given.json()["photo_url"]
        assert url.startswith(f"{settings.public_url}/photos/")
        shown = await manager.get(url.removeprefix(str(settings.public_url)), headers={"Authorization": ""})
        assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
        assert SECRET not in shown.content
        assert seen(shown.content).size == (60, 40)
        assert "immutable" in shown.headers["cache-control"]
        again = await manager.get(shown.url.path, headers={"If-None-Match": shown.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await manager.get(f"/api/admin/stations/{station.id}")).json()["photo_url"] == url

    async def test_it_may_come_in_a_form(self, manager: httpx.AsyncClient, station: Station) -> None:
        files = {"file": ("me.png", picture("PNG"), "image/png")}
        assert (await manager.put(path(station), files=files)).status_code == 200

    async def test_another_one_takes_its_place_and_the_old_one_is_gone(
        self, manager: httpx.AsyncClient, station: Station, settings: Settings, db: Database
    ) -> None:
        base = str(settings.public_url)
        first = (await manager.put(path(station), content=picture())).json()["photo_url"]
        second = (await manager.put(path(station), content=picture("PNG"))).json()["photo_url"]
        assert (await manager.get(first.removeprefix(base))).status_code == 404
        assert (await manager.get(second.removeprefix(base))).status_code == 200
        assert await stored(db) == [("Photo", False), ("Photo", True)]

    @pytest.mark.parametrize("way", ["delete", "address", "station"])
    async def test_it_goes_with_the_station_or_when_it_is_taken_away_or_an_address_is_given(
        self, *, manager: httpx.AsyncClient, station: Station, settings: Settings, db: Database, way: str
    ) -> None:
        url = (await manager.put(path(station), content=picture())).json()["photo_url"]
        at = f"/api/admin/stations/{station.id}"
        if way == "delete":
            assert (await manager.delete(path(station))).status_code == 204
            assert (await manager.get(at)).json()["photo_url"] is None
        elif way == "address":
            other = "https://example.com/x.jpg"
            assert (await manager.put(at, json={"photo_url": url})).status_code == 200, "the same one stays"
            assert await stored(db) == [("Photo", False)]
            assert (await manager.put(at, json={"photo_url": other})).json()["photo_url"] == other
        else:
            assert (await manager.delete(at)).status_code == 204
        assert (await manager.get(url.removeprefix(str(settings.public_url)))).status_code == 404
        assert await stored(db) == [("Photo", True)]


class TestRefused:
    @pytest.mark.parametrize("body", [b"", b"<svg/>", picture("GIF", mode="P"), picture()[:100]])
    async def test_what_is_no_photo_changes_nothing(
        self, manager: httpx.AsyncClient, station: Station, db: Database, body: bytes
    ) -> None:
        answer = await manager.put(path(station), content=body)
        assert (answer.status_code, answer.json()["error"]) == (422, "PictureUnreadable")
        assert await stored(db) == []

    async def test_one_that_is_too_large_is_refused_while_it_comes(
        self, manager: httpx.AsyncClient, station: Station, db: Database
    ) -> None:
        answer = await manager.put(path(station), content=b"x" * (LIMIT + 1))
        assert (answer.status_code, answer.json()["error"]) == (413, "PhotoTooLarge")
        assert await stored(db) == []

    async def test_nobody_gives_a_photo_to_a_station_of_others(
        self, world: World, client: httpx.AsyncClient, station: Station
    ) -> None:
        other = await world.user(Role.BACKOFFICE, await world.backoffice())
        for ask in (
            client.put(path(station), content=picture(), headers=other.headers),
            client.delete(path(station), headers=other.headers),
        ):
            assert (await ask).status_code == 404

    async def test_a_file_that_no_station_shows_is_no_photo(
        self, app: FastAPI, client: httpx.AsyncClient, db: Database
    ) -> None:
        assert (await client.get("/photos/not-one.jpg")).status_code == 422
        assert (await client.get("/photos/7f0e0f7e-0c55-4a52-a4f0-0a8c4e9c5f2c.jpg")).status_code == 404
