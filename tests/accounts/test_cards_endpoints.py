"""The cards of a driver: added, approved by setting, blocked, lost, removed; and what a charger is told."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from tests.accounts.people import charged, driver, mails, trail
from tests.chargers import charger
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.authorization import authorize_token
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, Token
from ohmstead.core.db import Database
from ohmstead.fleet.local_lists.wanted import _tags_of

NIC = "200212345679"
PATH = f"/api/evowner/{NIC}/cards"
TAG = "04A2B3C4D5E680"


@pytest.fixture
async def ravi(world: World) -> SignedIn:
    return await driver(world, NIC)


@pytest.fixture
def approving(app: FastAPI) -> None:
    """Cards wait for approval in this test."""
    app.state.settings = app.state.settings.model_copy(update={"card_approval": "backoffice"})


async def add(client: httpx.AsyncClient, by: SignedIn, tag: str = TAG, **body: Any) -> dict[str, Any]:
    answer = await client.post(PATH, headers=by.headers, json={"idTag": tag} | body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def told(db: Database, clock: FrozenClock, tag: str = TAG, business: UUID | None = None) -> str:
    """What a charger of a business is told of a tag."""
    async with db.session() as session:
        decision = await authorize_token(session, id_tag=tag, backoffice_id=business, now=clock.now())
    return str(decision.status)


async def move(client: httpx.AsyncClient, by: SignedIn, card: dict[str, Any], what: str) -> httpx.Response:
    return await client.put(f"{PATH}/{card['id']}/{what}", headers=by.headers, json={"reason": "no"})


class TestAdd:
    async def test_without_approval_it_charges_everywhere_at_once(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi, label="Key ring")
        assert made == {
            "id": made["id"],
            "ownerId": str(ravi.id),
            "idTag": TAG,
            "label": "Key ring",
            "status": "Active",
            "backofficeId": None,
            "createdAt": "2026-05-04T12:00:00Z",
        }
        for business in (await world.backoffice(), await world.backoffice()):
            assert await told(db, clock, TAG.lower(), business.id) == "Accepted"
        assert (await client.get(PATH, headers=ravi.headers)).json() == [made]
        assert await trail(db, made["id"]) == ["card.added"]

    async def test_the_tag_of_a_business_works_at_that_business_only(
        self, world: World, db: Database, clock: FrozenClock
    ) -> None:
        own, other = await world.backoffice(), await world.backoffice()
        await world.token(own.id, TAG)
        assert await told(db, clock, TAG, own.id) == "Accepted"
        assert await told(db, clock, TAG, other.id) == "Invalid"

    async def test_two_drivers_cannot_take_the_same_tag(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        await add(client, ravi)
        maya = await driver(world)
        for user, path in ((maya, f"/api/evowner/{maya.id}/cards"), (ravi, PATH)):
            answer = await client.post(path, headers=user.headers, json={"idTag": TAG.lower()})
            assert (answer.status_code, answer.json()["error"]) == (409, "CardTaken")

    async def test_of_several_who_take_a_tag_at_once_one_has_it(
        self, server: RunningServer, server_world: World
    ) -> None:
        tag, drivers = uuid4().hex[:16], [await driver(server_world) for _ in range(5)]
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=30) as http:
            answers = await asyncio.gather(
                *(
                    http.post(f"/api/evowner/{one.id}/cards", headers=one.headers, json={"idTag": tag})
                    for one in drivers
                )
            )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]

    async def test_a_deactivated_driver_adds_none(self, client: httpx.AsyncClient, ravi: SignedIn) -> None:
        await client.put(f"/api/evowner/{NIC}/deactivate", headers=ravi.headers)
        answer = await client.post(PATH, headers=ravi.headers, json={"idTag": TAG})
        assert (answer.status_code, answer.json()["error"]) == (403, "OwnerDeactivated")

    async def test_twenty_are_enough(self, client: httpx.AsyncClient, ravi: SignedIn) -> None:
        for number in range(20):
            await add(client, ravi, f"CARD{number}")
        answer = await client.post(PATH, headers=ravi.headers, json={"idTag": TAG})
        assert (answer.status_code, answer.json()["error"]) == (409, "TooManyCards")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "idTag"),
            ({"idTag": ""}, "idTag"),
            ({"idTag": "x" * 21}, "idTag"),
            ({"idTag": "A\u0000"}, "idTag"),
            ({"idTag": 4}, "idTag"),
            ({"idTag": TAG, "label": "x" * 81}, "label"),
            ({"idTag": TAG, "status": "Active"}, "status"),
            ({"idTag": TAG, "backofficeId": str(uuid4())}, "backofficeId"),
        ],
        ids=lambda value: ascii(value)[:30],
    )
    async def test_bad_input_names_its_field(
        self, client: httpx.AsyncClient, ravi: SignedIn, body: dict[str, Any], field: str
    ) -> None:
        answer = await client.post(PATH, headers=ravi.headers, json=body)
        assert (answer.status_code, list(answer.json()["fields"])) == (400, [field])
        assert (await client.get(PATH, headers=ravi.headers)).json() == []


@pytest.mark.usefixtures("approving")
class TestApproval:
    async def test_a_card_that_waits_does_not_charge_until_a_business_that_knows_the_driver_approves_it(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        business = await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, business)
        made = await add(client, ravi)
        assert made["status"] == "Pending"
        assert await told(db, clock) == "Invalid"
        assert (await move(client, ravi, made, "approve")).status_code == 403
        assert (await move(client, ravi, made, "unblock")).status_code == 409
        assert (await move(client, boss, made, "approve")).status_code == 404
        await charged(world, ravi, business)
        waiting = await client.get("/api/evowner/cards", headers=boss.headers, params={"status": "Pending"})
        assert [one["id"] for one in waiting.json()] == [made["id"]]
        for _ in range(2):
            answer = await move(client, boss, made, "approve")
            assert (answer.status_code, answer.json()["status"]) == (200, "Active")
        assert await told(db, clock) == "Accepted"
        assert await trail(db, made["id"]) == ["card.added", "card.approved"]

    async def test_the_business_that_a_driver_names_approves_it_and_learns_nothing_else_of_the_driver(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        business, other = await world.backoffice(), await world.backoffice()
        boss, stranger = [await world.user(Role.BACKOFFICE, one) for one in (business, other)]
        operator = await world.user(Role.OPERATOR, business)
        made = await add(client, ravi, label="Key ring", backofficeId=str(business.id))
        assert made["backofficeId"] == str(business.id)
        unnamed = await add(client, ravi, "UNNAMED")
        listed = await client.get("/api/evowner/cards", headers=boss.headers, params={"status": "Pending"})
        name = (await client.get(f"/api/evowner/{NIC}", headers=ravi.headers)).json()["name"]
        assert listed.json() == [made | {"ownerName": name}]
        assert (await client.get("/api/evowner/cards", headers=stranger.headers)).json() == []
        cards = f"/api/evowner/{ravi.id}/cards"
        for path in ("", "/cards", "/vehicles", "/sessions"):
            answer = await client.get(f"/api/evowner/{ravi.id}{path}", headers=boss.headers)
            assert answer.status_code == 404, path
        assert (await move(client, boss, made, "approve")).status_code == 404, "by its NIC"
        for who, card, status in (
            (stranger, made, 404),
            (operator, made, 403),
            (boss, unnamed, 404),
            (boss, made, 200),
            (boss, made, 200),
        ):
            answer = await client.put(f"{cards}/{card['id']}/approve", headers=who.headers)
            assert answer.status_code == status
        assert answer.json() == made | {"status": "Active"}
        assert await told(db, clock) == "Accepted"
        assert await told(db, clock, "UNNAMED") == "Invalid"
        assert (await client.get("/api/evowner/cards", headers=boss.headers)).json() == []

    async def test_the_business_that_a_driver_names_may_refuse_it(
        self, client: httpx.AsyncClient, world: World, db: Database, ravi: SignedIn
    ) -> None:
        business = await world.backoffice()
        boss, stranger = await world.user(Role.BACKOFFICE, business), await world.user(Role.BACKOFFICE)
        made = await add(client, ravi, backofficeId=str(business.id))
        url = f"/api/evowner/{ravi.id}/cards/{made['id']}/reject"
        for who, status in ((stranger, 404), (boss, 204), (boss, 404)):
            answer = await client.put(url, headers=who.headers, json={"reason": "unreadable"})
            assert answer.status_code == status
        assert (await client.get(PATH, headers=ravi.headers)).json() == []
        [mail] = await mails(db, ravi.email, "card_rejected")
        assert "unreadable" in str(mail.text)

    async def test_a_business_that_is_not_at_work_cannot_be_asked(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        waiting = await world.backoffice()
        async with world.database.session() as session:
            (await session.get_one(Backoffice, waiting.id)).status = BackofficeStatus.PENDING_APPROVAL
        for business in (waiting.id, uuid4()):
            body = {"idTag": TAG, "backofficeId": str(business)}
            answer = await client.post(PATH, headers=ravi.headers, json=body)
            assert (answer.status_code, list(answer.json()["fields"])) == (400, ["backofficeId"])

    async def test_one_that_is_rejected_is_gone_and_its_driver_is_told_why(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        admin, made = await world.admin(), await add(client, ravi)
        assert (await move(client, admin, made, "reject")).status_code == 204
        assert (await client.get(PATH, headers=ravi.headers)).json() == []
        assert (await move(client, admin, made, "reject")).status_code == 404
        [mail] = await mails(db, ravi.email, "card_rejected")
        assert "The reason: no" in str(mail.text)
        assert await told(db, clock) == "Invalid"
        assert (await add(client, ravi))["status"] == "Pending"

    async def test_one_that_charges_cannot_be_rejected(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        admin, made = await world.admin(), await add(client, ravi)
        await move(client, admin, made, "approve")
        answer = await move(client, admin, made, "reject")
        assert (answer.status_code, answer.json()["error"]) == (409, "CardNotReady")

    async def test_removing_and_adding_it_again_is_no_way_around(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        admin, made = await world.admin(), await add(client, ravi)
        await move(client, admin, made, "approve")
        await client.delete(f"{PATH}/{made['id']}", headers=ravi.headers)
        assert (await add(client, ravi))["status"] == "Pending"


class TestMoves:
    async def test_its_driver_blocks_and_unblocks_it(
        self, client: httpx.AsyncClient, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi)
        for what, status, answer in (
            ("block", "Blocked", "Blocked"),
            ("block", "Blocked", "Blocked"),
            ("unblock", "Active", "Accepted"),
        ):
            moved = await move(client, ravi, made, what)
            assert (moved.status_code, moved.json()["status"]) == (200, status)
            assert await told(db, clock) == answer
        assert await trail(db, made["id"]) == ["card.added", "card.blocked", "card.unblocked"]

    async def test_a_lost_one_charges_again_only_when_it_is_approved(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi)
        assert (await move(client, ravi, made, "lost")).json()["status"] == "Lost"
        assert await told(db, clock) == "Blocked"
        assert (await move(client, ravi, made, "unblock")).status_code == 409
        assert (await move(client, ravi, made, "block")).status_code == 409
        answer = await move(client, await world.admin(), made, "approve")
        assert answer.json()["status"] == "Active"
        assert await told(db, clock) == "Accepted"

    async def test_one_that_an_operator_blocked_stays_so_whatever_its_driver_does(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made, admin = await add(client, ravi), await world.admin()
        await client.put(
            f"/api/admin/id-tags/{made['id']}", headers=admin.headers, json={"status": "Blocked"}
        )
        [shown] = (await client.get(PATH, headers=ravi.headers)).json()
        assert shown["status"] == "Blocked"
        for what in ("unblock", "block", "lost"):
            assert (await move(client, ravi, made, what)).status_code == 409
        answer = await client.delete(f"{PATH}/{made['id']}", headers=ravi.headers)
        assert (answer.status_code, answer.json()["error"]) == (409, "CardNotReady")
        assert await told(db, clock) == "Blocked"

    async def test_what_an_operator_blocked_no_driver_undoes_though_it_had_blocked_it_before(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made, admin = await add(client, ravi), await world.admin()
        tag = f"/api/admin/id-tags/{made['id']}"
        await move(client, ravi, made, "block")
        await client.put(tag, headers=admin.headers, json={"status": "Blocked"})
        assert (await move(client, ravi, made, "unblock")).status_code == 409
        assert (await client.delete(f"{PATH}/{made['id']}", headers=ravi.headers)).status_code == 409
        answer = await client.post(PATH, headers=ravi.headers, json={"idTag": TAG})
        assert (answer.status_code, answer.json()["error"]) == (409, "CardTaken")
        assert await told(db, clock) == "Blocked"
        lifted = await client.put(tag, headers=admin.headers, json={"status": "Accepted"})
        assert lifted.json()["status"] == "Blocked", "as its driver has it"
        assert (await move(client, ravi, made, "unblock")).json()["status"] == "Active"
        assert await told(db, clock) == "Accepted"

    async def test_a_block_by_staff_is_lifted_by_staff_and_kept_apart_from_that_of_its_driver(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made, admin = await add(client, ravi), await world.admin()
        for _ in range(2):
            assert (await move(client, admin, made, "block")).json()["status"] == "Blocked"
        assert (await move(client, ravi, made, "unblock")).status_code == 409
        params = {"status": "Blocked"}
        listed = await client.get("/api/evowner/cards", headers=admin.headers, params=params)
        assert [one["id"] for one in listed.json()] == [made["id"]]
        params = {"status": "Active"}
        assert (await client.get("/api/evowner/cards", headers=admin.headers, params=params)).json() == []
        assert (await move(client, admin, made, "unblock")).json()["status"] == "Active"
        assert await told(db, clock) == "Accepted"
        wanted = {"entity_id": made["id"]}
        entries = await client.get("/api/admin/audit", headers=admin.headers, params=wanted)
        assert [(one["action"], one["reason"]) for one in entries.json()["items"]] == [
            ("card.unblocked", "no"), ("card.blocked", "no"), ("card.added", None)
        ]  # fmt: skip

    async def test_a_removed_one_that_staff_blocks_does_not_come_back(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        await charged(world, ravi, await world.backoffice(), TAG)
        admin = await world.admin()
        [card] = (await client.get(PATH, headers=ravi.headers)).json()
        await client.delete(f"{PATH}/{card['id']}", headers=ravi.headers)
        await client.put(
            f"/api/admin/id-tags/{card['id']}", headers=admin.headers, json={"status": "Blocked"}
        )
        answer = await client.post(PATH, headers=ravi.headers, json={"idTag": TAG})
        assert (answer.status_code, answer.json()["error"]) == (409, "CardBlocked")
        assert await told(db, clock) == "Blocked"

    async def test_it_gets_another_name(self, client: httpx.AsyncClient, ravi: SignedIn) -> None:
        made = await add(client, ravi, label="Old")
        url = f"{PATH}/{made['id']}"
        for label in ("New", None):
            answer = await client.put(url, headers=ravi.headers, json={"label": label})
            assert answer.json() == made | {"label": label}
        for body in ({}, {"label": ""}, {"idTag": "X"}):
            assert (await client.put(url, headers=ravi.headers, json=body)).status_code == 400

    async def test_a_removed_one_charges_no_more_and_is_free_for_others(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        made, maya = await add(client, ravi), await driver(world)
        assert (await client.delete(f"{PATH}/{made['id']}", headers=ravi.headers)).status_code == 204
        assert await told(db, clock) == "Invalid"
        answer = await client.post(f"/api/evowner/{maya.id}/cards", headers=maya.headers, json={"idTag": TAG})
        assert answer.status_code == 201

    async def test_a_removed_one_that_has_charged_still_leads_to_its_driver_and_comes_back(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        business = await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, business)
        await charged(world, ravi, business, TAG)
        [card] = (await client.get(PATH, headers=ravi.headers)).json()
        await client.delete(f"{PATH}/{card['id']}", headers=ravi.headers)
        assert (await client.get(PATH, headers=ravi.headers)).json() == []
        assert await told(db, clock) == "Invalid"
        assert (await client.get(f"/api/evowner/{NIC}", headers=boss.headers)).status_code == 200
        assert (await add(client, ravi))["id"] == card["id"]
        assert await told(db, clock) == "Accepted"


class TestDeactivatedDriver:
    async def test_its_cards_are_blocked_and_come_back_with_it(
        self, client: httpx.AsyncClient, world: World, db: Database, clock: FrozenClock, ravi: SignedIn
    ) -> None:
        await add(client, ravi)
        business = await world.backoffice()
        admin = await world.admin()
        for what, status in (("deactivate", "Blocked"), ("reactivate", "Accepted")):
            await client.put(f"/api/evowner/{NIC}/{what}", headers=admin.headers)
            assert await told(db, clock) == status
            async with db.session() as session:
                [listed] = (await _tags_of(session, {business.id}))[business.id]
            assert listed.status == status

    async def test_a_charger_is_told_so_on_the_wire(self, server: RunningServer, server_world: World) -> None:
        maya, tag = await driver(server_world), uuid4().hex[:16]
        row = await server_world.charger()
        async with (
            charger(server.ws, row.id) as raw,
            httpx.AsyncClient(base_url=server.http, headers=maya.headers, trust_env=False) as http,
        ):
            await raw.boot()
            seen = []
            assert (await http.post(f"/api/evowner/{maya.id}/cards", json={"idTag": tag})).status_code == 201
            seen.append((await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"])
            assert (await http.put(f"/api/evowner/{maya.id}/deactivate")).status_code == 200
            seen.append((await raw.result("Authorize", {"idTag": tag}))["idTagInfo"]["status"])
        assert seen == ["Accepted", "Blocked"]


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", ""),
            ("POST", ""),
            ("PUT", "/{id}"),
            ("DELETE", "/{id}"),
            ("PUT", "/{id}/block"),
            ("PUT", "/{id}/unblock"),
            ("PUT", "/{id}/lost"),
            ("PUT", "/{id}/approve"),
            ("PUT", "/{id}/reject"),
        ],
    )
    async def test_nobody_else(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn, method: str, path: str
    ) -> None:
        made, maya = await add(client, ravi), await driver(world)
        bodies = {"POST ": {"idTag": "X"}, "PUT /{id}": {"label": "X"}, "PUT /{id}/reject": {"reason": "X"}}
        body = bodies.get(f"{method} {path}", {})
        url = PATH + path.replace("{id}", made["id"])
        assert (await client.request(method, url, json=body)).status_code == 401
        for user in (await world.user(Role.BACKOFFICE), await world.user(Role.OPERATOR), maya):
            answer = await client.request(method, url, json=body, headers=user.headers)
            assert answer.status_code in {403, 404}
        own = url.replace(NIC, str(maya.id))  # the card of another, at the own address
        if path and not path.endswith(("approve", "reject")):
            answer = await client.request(method, own, json=body, headers=maya.headers)
            assert (answer.status_code, answer.json()["error"]) == (404, "CardNotFound")
        [shown] = (await client.get(PATH, headers=ravi.headers)).json()
        assert shown == made

    async def test_the_list_of_all_is_that_of_the_drivers_one_knows(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        await add(client, ravi)
        business = await world.backoffice()
        await charged(world, await driver(world), business, "KNOWN")
        url = "/api/evowner/cards"
        boss = await world.user(Role.BACKOFFICE, business)
        listed = await client.get(url, headers=boss.headers)
        assert [one["idTag"] for one in listed.json()] == ["KNOWN"]
        listed = await client.get(url, headers=(await world.admin()).headers, params={"q": "04a2"})
        assert [one["idTag"] for one in listed.json()] == [TAG]
        assert (await client.get(url)).status_code == 401
        assert (await client.get(url, headers=ravi.headers)).status_code == 403
        assert (await client.get(url, headers=boss.headers, params={"status": "x"})).status_code == 400

    async def test_a_business_does_not_find_it_among_its_id_tags(
        self, client: httpx.AsyncClient, world: World, ravi: SignedIn
    ) -> None:
        made = await add(client, ravi)
        boss = await world.user(Role.BACKOFFICE)
        answer = await client.get(f"/api/admin/id-tags/{made['id']}", headers=boss.headers)
        assert answer.status_code == 404
        async with world.database.session() as session:
            row = await session.get(Token, UUID(made["id"]))
        assert row is not None
        assert row.backoffice_id is None
