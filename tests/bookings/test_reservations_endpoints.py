"""`/api/admin/reservations` and `/reserve`: who may, what comes in, what goes out."""

import asyncio
from typing import Any

import httpx
import orjson
import pytest
from tests.bookings.conftest import UNTIL, Desk
from tests.chargers import charger as connected
from tests.chargers import until
from tests.conftest import FrozenClock
from tests.gateway.admin import admin_client
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.link.links import Answer
from ohmstead.stations.models import Charger

BODY = {"connector_id": 1, "id_tag": "OURS", "expires_at": UNTIL}


class TestAccess:
    async def test_who_is_not_signed_in_gets_nothing(self, desk: Desk, client: httpx.AsyncClient) -> None:
        link = desk.says("Accepted")
        assert (await client.get("/api/admin/reservations")).status_code == 401
        path = f"/api/admin/chargers/{desk.charger.id}/reserve"
        assert (await client.post(path, json=BODY)).status_code == 401
        assert link.calls == []

    @pytest.mark.parametrize(
        ("role", "listed", "status"),
        [(Role.EV_OWNER, 403, 403), (Role.BACKOFFICE, 200, 404), (Role.OPERATOR, 200, 404)],
    )
    async def test_reservations_of_others_do_not_exist(
        self, *, desk: Desk, client: httpx.AsyncClient, world: World, role: Role, listed: int, status: int
    ) -> None:
        link = desk.says("Accepted")
        await desk.reserve_raw(7)
        row = await desk.one()
        other = await world.user(role)
        page = await client.get("/api/admin/reservations", headers=other.headers)
        assert page.status_code == listed
        if listed == 200:
            assert page.json()["items"] == []
        one = f"/api/admin/reservations/{row['id']}"
        assert (await client.get(one, headers=other.headers)).status_code == status
        assert (await client.post(f"{one}/cancel", headers=other.headers)).status_code == status
        path = f"/api/admin/chargers/{desk.charger.id}/reserve"
        assert (await client.post(path, json=BODY, headers=other.headers)).status_code == status
        assert len(link.calls) == 1

    async def test_an_operator_sees_and_reserves_at_its_stations_only(
        self, *, desk: Desk, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        business = await world.backoffice()
        mine, others = await world.station(business), await world.station(business)
        operator = await world.user(Role.OPERATOR, business, (mine,))
        for station, status in ((mine, 200), (others, 404)):
            charger = await world.charger(station)
            Desk(desk.app, client, operator, charger, clock).says("Accepted")
            path = f"/api/admin/chargers/{charger.id}/reserve"
            answer = await client.post(path, json=BODY, headers=operator.headers)
            assert answer.status_code == status
        page = await client.get("/api/admin/reservations", headers=operator.headers)
        assert page.json()["total"] == 1


class TestReserve:
    async def test_a_free_number_is_chosen_and_the_charger_is_asked(self, desk: Desk) -> None:
        link = desk.says("Accepted")
        answer = await desk.post(f"/chargers/{desk.charger.id}/reserve", BODY)
        assert answer.status_code == 200
        told = answer.json()
        [(action, payload, *_)] = link.calls
        assert action == "ReserveNow"
        assert orjson.loads(payload) == {
            "connectorId": 1,
            "expiryDate": "2026-05-04T13:00:00.000Z",
            "idTag": "OURS",
            "reservationId": told["reservation_id"],
        }
        assert (told["status"], told["response"]) == ("Accepted", {"status": "Accepted"})
        assert told["reservation"] == await desk.one()

    async def test_a_number_and_a_parent_may_be_given(self, desk: Desk) -> None:
        desk.says("Occupied")
        body = {**BODY, "reservation_id": 12, "parent_id_tag": "FAMILY", "connector_id": 0}
        told = (await desk.post(f"/chargers/{desk.charger.id}/reserve", body)).json()
        assert (told["status"], told["reservation_id"]) == ("Occupied", 12)
        row = await desk.one()
        assert (row["parent_id_tag"], row["connector_id"], row["status"]) == ("FAMILY", 0, "Occupied")

    async def test_no_answer_is_told_with_what_is_kept(self, desk: Desk) -> None:
        desk.says(Answer())
        told = (await desk.post(f"/chargers/{desk.charger.id}/reserve", BODY)).json()
        assert (told["status"], told["reservation"]["status"]) == ("Timeout", "Failed")

    @pytest.mark.parametrize(
        "fault",
        [
            {"expires_at": "2026-05-04T12:00:00Z"},
            {"expires_at": "2026-05-04T13:00:00"},
            {"expires_at": None},
            {"id_tag": ""},
            {"id_tag": "x" * 21},
            {"id_tag": "a\0"},
            {"connector_id": -1},
            {"connector_id": "1"},
            {"reservation_id": 0},
            {"reservation_id": 2**31},
            {"reservation_id": 1.5},
            {"parent_id_tag": "x" * 21},
            {"more": 1},
        ],
        ids=str,
    )
    async def test_a_faulty_body_is_refused_and_nothing_is_sent(self, desk: Desk, fault: Any) -> None:
        link = desk.says("Accepted")
        answer = await desk.post(f"/chargers/{desk.charger.id}/reserve", {**BODY, **fault})
        assert answer.status_code == 422
        assert answer.json()["fields"].keys() == fault.keys()
        assert link.calls == []

    async def test_a_charger_that_is_away_answers_409(self, desk: Desk) -> None:
        answer = await desk.post(f"/chargers/{desk.charger.id}/reserve", BODY)
        assert (answer.status_code, answer.json()["error"]) == (409, "ChargerOffline")
        assert (await desk.one())["status"] == "Failed"


class TestCancel:
    async def test_it_is_cancelled_by_its_id(self, desk: Desk) -> None:
        link = desk.says("Accepted", "Accepted")
        await desk.reserve_raw(7)
        told = (await desk.post(f"/reservations/{(await desk.one())['id']}/cancel")).json()
        assert (told["status"], told["reservation"]["status"]) == ("Accepted", "Cancelled")
        assert link.calls[1][0] == "CancelReservation"

    async def test_one_that_is_not_there(self, desk: Desk, charger: Charger) -> None:
        for key, status in (("00000000-0000-4000-8000-000000000000", 404), ("nonsense", 422)):
            assert (await desk.post(f"/reservations/{key}/cancel")).status_code == status


class TestList:
    async def test_the_newest_comes_first_in_pages(self, desk: Desk, clock: FrozenClock) -> None:
        desk.says(*["Accepted"] * 5)
        for number in range(1, 6):
            clock.advance(1)
            await desk.reserve_raw(number, connector=number, tag=f"TAG{number}")
        assert [row["reservation_id"] for row in await desk.kept()] == [5, 4, 3, 2, 1]
        seen: list[int] = []
        cursor: dict[str, str] = {}
        while True:
            page = await desk.client.get(
                "/api/admin/reservations",
                params={"charger": desk.charger.id, "limit": 2, **cursor},
                headers=desk.admin.headers,
            )
            seen += [row["reservation_id"] for row in page.json()["items"]]
            assert page.json()["total"] == 5
            if page.json()["next_cursor"] is None:
                break
            cursor = {"cursor": page.json()["next_cursor"]}
        assert seen == [5, 4, 3, 2, 1]
        assert [row["reservation_id"] for row in await desk.kept(connector=3)] == [3]
        assert [row["reservation_id"] for row in await desk.kept(id_tag="tag2")] == [2]
        assert [row["reservation_id"] for row in await desk.kept(q="AG4")] == [4]
        assert await desk.kept(charger="nobody") == []

    @pytest.mark.parametrize(
        "fault", [{"status": "Maybe"}, {"cursor": "x"}, {"sort": "id_tag"}, {"charger": "a\0"}, {"limit": 0}]
    )
    async def test_a_faulty_question_is_refused(self, desk: Desk, fault: dict[str, Any]) -> None:
        answer = await desk.client.get("/api/admin/reservations", params=fault, headers=desk.admin.headers)
        assert answer.status_code == 422


async def test_on_the_wire_it_is_kept_before_the_answer_and_used_by_the_start(
    server: RunningServer, server_world: World
) -> None:
    """One row from ReserveNow to the session that used it, with a charger that starts as it answers."""
    row = await server_world.charger()
    user = await server_world.admin()
    until = "2099-05-04T13:00:00Z"
    async with connected(server.ws, row.id) as raw, admin_client(server.http, user.headers) as client:
        await raw.boot()

        async def answer_next(word: str) -> dict[str, Any]:
            frame = await raw.next_call()
            await raw.answer(frame, {"status": word})
            asked: dict[str, Any] = frame[3]
            return asked

        answering = asyncio.create_task(answer_next("Accepted"))
        told = await client.post(
            f"/api/admin/chargers/{row.id}/reserve", json={**BODY, "expires_at": until, "connector_id": 2}
        )
        number = (await answering)["reservationId"]
        assert told.json()["reservation"]["status"] == "Accepted"
        stranger = await raw.start("STRANGER", connector=2)
        used = await raw.result(
            "StartTransaction",
            {
                "connectorId": 2,
                "idTag": "OURS",
                "meterStart": 5,
                "timestamp": "2026-05-04T12:30:00Z",
                "reservationId": number,
            },
        )
        page = await client.get("/api/admin/reservations", params={"charger": row.id})
        [kept] = page.json()["items"]
        assert kept["status"] == "Used"
        sessions = (await client.get("/api/admin/transactions", params={"charger": row.id})).json()["items"]
        by_number = {one["ocpp_transaction_id"]: one for one in sessions}
        assert by_number[used["transactionId"]]["id"] == kept["session_id"]
        kinds = [note["kind"] for note in by_number[stranger["transactionId"]]["anomalies"]]
        assert "reserved_for_other" in kinds


@pytest.mark.parametrize("tags", [("A", "B", "C"), ("A", "A", "A")])
async def test_of_the_same_number_at_the_same_moment_the_kept_one_is_what_the_charger_holds(
    server: RunningServer, server_world: World, tags: tuple[str, ...]
) -> None:
    row = await server_world.charger()
    user = await server_world.admin()
    path = f"/api/admin/chargers/{row.id}/commands/ReserveNow"
    async with connected(server.ws, row.id) as raw, admin_client(server.http, user.headers) as client:
        asked = [
            asyncio.create_task(
                client.post(
                    path,
                    json={
                        "connectorId": 1,
                        "idTag": tag,
                        "expiryDate": "2099-05-04T13:00:00Z",
                        "reservationId": 7,
                    },
                )
            )
            for tag in tags
        ]
        frame = await raw.next_call()
        await until(lambda: _are(sum(one.done() for one in asked), len(tags) - 1))
        await raw.answer(frame, {"status": "Accepted"})
        answers = await asyncio.gather(*asked)
        assert sorted(one.status_code for one in answers) == [200, 409, 409]
        refused = {one.json()["error"] for one in answers if one.status_code == 409}
        assert refused == {"ReservationPending"}
        assert raw.calls.empty()
        page = await client.get("/api/admin/reservations", params={"charger": row.id})
        kept = [(one["id_tag"], one["status"]) for one in page.json()["items"]]
        assert kept == [(frame[3]["idTag"], "Accepted")]


async def _are(number: int, wanted: int) -> bool:
    return number == wanted
