"""The diagnosis of a charger over HTTP, from rows of every kind."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.conftest import FrozenClock
from tests.insights.trouble import HOUR, KINDS, MINUTE, OF, Trouble
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.stations.models import Charger, Connector


@pytest.fixture
def trouble(world: World, clock: FrozenClock) -> Trouble:
    return Trouble(world, clock)


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


@pytest.fixture
async def charger(world: World) -> Charger:
    return await world.charger()


async def diagnosis(
    client: httpx.AsyncClient, user: SignedIn, charger: Charger, **params: Any
) -> dict[str, Any]:
    answer = await client.get(
        f"/api/admin/chargers/{charger.id}/diagnosis", headers=user.headers, params=params
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


class TestDiagnosis:
    async def test_a_charger_that_did_nothing_wrong_is_healthy(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger
    ) -> None:
        assert await diagnosis(client, admin, charger) == {
            "charger_id": charger.id,
            "since": "2026-04-27T12:00:00Z",
            "until": "2026-05-04T12:00:00Z",
            "healthy": True,
            "findings": [],
        }

    @pytest.mark.parametrize("kind", KINDS)
    async def test_each_kind_of_trouble_is_one_finding_of_the_charger_that_has_it(
        self,
        *,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        charger: Charger,
        trouble: Trouble,
        kind: str,
    ) -> None:
        await getattr(trouble, kind)(charger)
        body = await diagnosis(client, admin, charger)
        (found,) = body["findings"]
        assert body["healthy"] is False
        assert found["kind"] == kind
        assert found["summary"]
        assert found["mend"]
        evidence = found["evidence"]
        assert evidence["count"] >= 1
        assert evidence["first_at"] <= evidence["last_at"]
        assert 1 <= len(evidence["examples"]) <= 5
        for example in evidence["examples"]:
            assert example["of"] == OF[kind]
            assert example["id"]
            assert example["detail"]
        assert (await diagnosis(client, admin, await world.charger()))["findings"] == []

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "SilentConnectors"])
    async def test_what_is_older_than_the_window_is_left_out(
        self,
        *,
        client: httpx.AsyncClient,
        admin: SignedIn,
        charger: Charger,
        trouble: Trouble,
        clock: FrozenClock,
        kind: str,
    ) -> None:
        await getattr(trouble, kind)(charger)
        clock.advance(2 * 86_400)
        admin = await trouble.world.admin()
        assert (await diagnosis(client, admin, charger, days=1))["findings"] == []
        assert len((await diagnosis(client, admin, charger, days=3))["findings"]) == 1

    async def test_only_the_newest_five_are_shown_and_all_are_counted(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        await trouble.refused(charger, "WrongPassword", 401, times=8)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert found["evidence"]["count"] == 8
        times = [example["at"] for example in found["evidence"]["examples"]]
        assert times == [f"2026-05-04T{11 + (n == 0)}:{(60 - n) % 60:02}:00Z" for n in range(5)]
        assert found["evidence"]["first_at"] == "2026-05-04T11:53:00Z"
        assert found["evidence"]["examples"][0]["detail"] == "WrongPassword from 192.0.2.7"

    @pytest.mark.parametrize(
        "reason",
        [
            "the server stops",
            "the database is away: come back later",
            "the server ended without closing it",
            "the charger's settings changed",
            "the charger was adopted: boot again",
            "the charger is retired",
            "the charger was deleted",
            "nobody has adopted this charger",
            "its station belongs to another business now",
            "subprotocol not supported: offer ocpp1.6",
        ],
    )
    async def test_connections_that_we_ended_are_no_flapping(
        self,
        *,
        client: httpx.AsyncClient,
        admin: SignedIn,
        charger: Charger,
        trouble: Trouble,
        reason: str,
    ) -> None:
        await trouble.ended(charger, reason, times=20)
        assert (await diagnosis(client, admin, charger))["findings"] == []

    async def test_a_connection_without_a_subprotocol_is_told_and_is_healthy(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        await trouble.ended(charger, times=1, subprotocol=None)
        body = await diagnosis(client, admin, charger)
        assert [one["kind"] for one in body["findings"]] == ["NoSubprotocol"]
        assert body["healthy"] is True

    async def test_ids_that_were_used_again_much_later_are_found_in_the_log(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        here, there = uuid4(), uuid4()
        for connection in (here, there):
            await trouble.message(charger, message_id="1", connection_id=connection)
        assert (await diagnosis(client, admin, charger))["findings"] == []
        again = await trouble.message(charger, message_id="1", connection_id=here)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert (found["kind"], found["evidence"]["count"]) == ("RepeatedIds", 1)
        assert found["evidence"]["examples"][0]["id"] == str(again.id)

    async def test_a_session_that_tells_nothing_for_an_hour_is_silent(
        self,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        charger: Charger,
        clock: FrozenClock,
    ) -> None:
        began = clock.now() - 3 * HOUR
        async with world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.online, row.presence_since = True, began
            for number in (1, 2):
                connector = await session.get_one(Connector, (charger.id, number))
                connector.status = "Charging"
        telling = {"last_sample_at": clock.now() - MINUTE}
        silent = await world.session(charger, started_at=began, received_at=began)
        await world.session(charger, connector_id=2, started_at=began, received_at=began, **telling)
        (found,) = (await diagnosis(client, admin, charger))["findings"]
        assert found["kind"] == "SilentConnectors"
        assert [one["id"] for one in found["evidence"]["examples"]] == [str(silent.id)]
        assert "MeterValueSampleInterval" in found["mend"]

    async def test_what_happened_under_another_business_is_not_shown(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn, charger: Charger, trouble: Trouble
    ) -> None:
        for kind in ("BadAuth", "MissingStops", "RegisterJumps"):
            await getattr(trouble, kind)(charger)
        elsewhere = await world.station()
        async with world.database.session() as session:
            row = await session.get_one(Charger, charger.id)
            row.station_id, row.backoffice_id = elsewhere.id, elsewhere.backoffice_id
        assert (await diagnosis(client, admin, charger))["findings"] == []

    @pytest.mark.parametrize("days", ["0", "31", "soon", "-1"])
    async def test_days_that_cannot_be_are_refused_by_name(
        self, client: httpx.AsyncClient, admin: SignedIn, charger: Charger, days: str
    ) -> None:
        answer = await client.get(
            f"/api/admin/chargers/{charger.id}/diagnosis", headers=admin.headers, params={"days": days}
        )
        assert answer.status_code == 422
        assert "days" in answer.json()["fields"]

    async def test_everybody_sees_their_own_chargers_only(
        self, client: httpx.AsyncClient, world: World, charger: Charger
    ) -> None:
        url = f"/api/admin/chargers/{charger.id}/diagnosis"
        station = await world.station()
        for user in (
            await world.user(Role.BACKOFFICE),
            await world.user(Role.OPERATOR, stations=(station,)),
        ):
            answer = await client.get(url, headers=user.headers)
            assert answer.status_code == 404
            assert answer.json()["error"] == "ChargerNotFound"
        driver = await world.user(Role.EV_OWNER)
        assert (await client.get(url, headers=driver.headers)).status_code == 403
        assert (await client.get(url)).status_code == 401
        for garbage in ("CP-NOBODY", "a%00b", "%F0%9F%94%8C"):
            answer = await client.get(
                f"/api/admin/chargers/{garbage}/diagnosis", headers=(await world.admin()).headers
            )
            assert answer.status_code in {404, 422}
        backoffice = await world.backoffice()
        place = await world.station(backoffice)
        theirs = await world.charger(place)
        operator = await world.user(Role.OPERATOR, backoffice, (place,))
        assert (await diagnosis(client, operator, theirs))["healthy"]
