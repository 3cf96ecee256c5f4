"""Ending a transaction by hand, whatever its charger does."""

import asyncio
import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from procrastinate import Blueprint
from sqlalchemy import text, update
from tests.chargers import RawCharger
from tests.charging.samples import sample
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts.models import Role
from ohmstead.charging import endpoints
from ohmstead.charging.models import ClosedBy, Session, SessionStatus
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.jobs import Jobs
from ohmstead.link.links import Answer, ChargerBusy, ChargerOffline

URL = "/api/admin/transactions"


class FakeCharger:
    """A charger's socket that answers what it is told to, and keeps what it was asked."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []
        self.waited: list[float | None] = []

    async def call(self, action: str, payload_json: bytes, *, wait_seconds: float | None = None) -> Answer:
        self.asked.append((action, orjson.loads(payload_json)))
        self.waited.append(wait_seconds)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def nobody_hears_facts(db: Database, settings: Settings) -> None:
    """What other domains do about a session that ends is theirs to test."""
    db.session_info["jobs"] = Jobs(settings.postgres_url, Blueprint(), {})


@pytest.fixture
async def admin(world: World) -> SignedIn:
    return await world.admin()


class TestForceStop:
    @pytest.fixture
    async def row(self, world: World) -> Session:
        charger = await world.charger(online=True)
        return await world.session(charger, ocpp_transaction_id=991, meter_start=100, energy_wh=Decimal(0))

    async def test_anonymous(self, client: httpx.AsyncClient) -> None:
        assert (await client.post(f"{URL}/1/force-stop")).status_code == 401

    async def test_a_driver_may_not(self, client: httpx.AsyncClient, world: World) -> None:
        driver = await world.user(Role.EV_OWNER)
        assert (await client.post(f"{URL}/1/force-stop", headers=driver.headers)).status_code == 403

    async def test_outside_of_the_scope_nothing_is_sent(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, row: Session
    ) -> None:
        charger = FakeCharger(Answer({"status": "Accepted"}))
        app.state.links.attach(row.charger_id, charger)
        stranger = await world.user(Role.BACKOFFICE)
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=stranger.headers)
        assert answer.status_code == 404
        assert charger.asked == []

    async def test_an_operator_may_at_its_station(self, client: httpx.AsyncClient, world: World) -> None:
        business = await world.backoffice()
        place = await world.station(business)
        row = await world.session(await world.charger(place))
        user = await world.user(Role.OPERATOR, business, (place,))
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=user.headers)
        assert answer.status_code == 200

    async def test_a_charger_that_accepts_will_send_its_stop_itself(
        self, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, row: Session
    ) -> None:
        charger = FakeCharger(Answer({"status": "Accepted"}))
        app.state.links.attach(row.charger_id, charger)
        answer = await client.post(f"{URL}/991/force-stop", headers=admin.headers)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["answer"]) == ("Accepted", "Accepted")
        assert body["transaction"]["status"] == "Active"
        assert charger.asked == [("RemoteStopTransaction", {"transactionId": 991})]

    @pytest.mark.parametrize(
        ("told", "word"),
        [
            (Answer({"status": "Rejected"}), "Rejected"),
            (Answer(error_code="InternalError"), "CallError"),
            (Answer(), "Timeout"),
            (ChargerOffline("gone"), "Offline"),
            (ChargerBusy("others first"), "Busy"),
            (None, "Offline"),
        ],
    )
    async def test_a_charger_that_does_not_is_overruled(
        self,
        *,
        clock: FrozenClock,
        app: FastAPI,
        client: httpx.AsyncClient,
        world: World,
        admin: SignedIn,
        row: Session,
        told: Answer | Exception | None,
        word: str,
    ) -> None:
        await world.add(sample(row, 600, 1600))
        clock.advance(660)
        if told is not None:
            app.state.links.attach(row.charger_id, FakeCharger(told))
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["answer"]) == ("ClosedLocally", word)
        closed = body["transaction"]
        assert (closed["status"], closed["closed_by"]) == ("Completed", "operator")
        assert (closed["stop_reason"], closed["energy_wh"]) == ("ForceStopped", 1500)
        shown = (await client.get(f"{URL}/{row.id}", headers=admin.headers)).json()
        assert shown == closed

    async def test_a_charger_has_ten_seconds_or_less_where_the_server_is_set_so(
        self, app: FastAPI, client: httpx.AsyncClient, world: World, admin: SignedIn, settings: Settings
    ) -> None:
        for timeout, waited in ((30.0, 10.0), (3.0, 3.0)):
            app.state.settings = settings.model_copy(update={"ocpp_call_timeout": timeout})
            row = await world.session(await world.charger(online=True))
            charger = FakeCharger(Answer())
            app.state.links.attach(row.charger_id, charger)
            answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)
            assert answer.json()["status"] == "ClosedLocally"
            assert charger.waited == [waited]

    async def test_several_at_once_on_a_silent_charger_are_not_held_up_by_each_other(
        self, server: RunningServer, server_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(endpoints, "STOP_SECONDS", 0.5)
        user = await server_world.admin()
        charger = await server_world.charger(connectors=4)
        rows = [await server_world.session(charger, connector_id=number) for number in range(1, 5)]
        began = time.monotonic()
        async with (
            await RawCharger.connect(server.ws, charger.id) as raw,
            httpx.AsyncClient(base_url=server.http, headers=user.headers, trust_env=False) as http,
        ):
            await raw.result("Heartbeat")
            asked = [http.post(f"{URL}/{row.id}/force-stop") for row in rows]
            answers = [answer.json() for answer in await asyncio.gather(*asked)]
        assert time.monotonic() - began < 8  # one after the other they would take as long as four limits
        assert {answer["status"] for answer in answers} == {"ClosedLocally"}
        told = [answer["answer"] for answer in answers]
        assert set(told) == {"Busy", "Timeout"}
        assert told.count("Busy") >= 1

    async def test_a_charger_that_accepts_and_sends_no_stop_is_overruled_by_a_later_request(
        self, clock: FrozenClock, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, row: Session
    ) -> None:
        app.state.links.attach(row.charger_id, FakeCharger(Answer({"status": "Accepted"})))
        told = []
        for seconds in (0, 20, 9, 1):
            clock.advance(seconds)
            told.append((await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)).json())
        assert [one["status"] for one in told] == ["Accepted", "Accepted", "Accepted", "ClosedLocally"]
        assert told[-1]["answer"] == "Accepted"
        closed = told[-1]["transaction"]
        assert (closed["status"], closed["closed_by"]) == ("Completed", "operator")
        assert closed["stop_reason"] == "ForceStopped"

    async def test_the_stop_of_a_charger_that_was_overruled_still_counts(
        self, server: RunningServer, server_world: World
    ) -> None:
        user, charger = await server_world.admin(), await server_world.charger()
        tag = (await server_world.token()).id_tag
        async with (
            await RawCharger.connect(server.ws, charger.id) as raw,
            httpx.AsyncClient(base_url=server.http, headers=user.headers, trust_env=False) as http,
        ):
            transaction = (await raw.start(tag))["transactionId"]
            statuses = []
            for _ in range(2):
                asked = asyncio.create_task(http.post(f"{URL}/{transaction}/force-stop"))
                await raw.answer(await raw.next_call(), {"status": "Accepted"})
                statuses.append((await asked).json()["status"])
                async with server.database.session() as session:
                    accepted = server.app.state.clock.now() - timedelta(seconds=31)
                    known = update(Session).where(Session.ocpp_transaction_id == transaction)
                    await session.execute(known.values(stop_accepted_at=accepted))
            assert statuses == ["Accepted", "ClosedLocally"]
            await raw.stop(transaction, meter=1500)
            shown = (await http.get(f"{URL}/{transaction}")).json()
        assert (shown["status"], shown["closed_by"], shown["energy_wh"]) == ("Completed", "charger", 1500)

    async def test_the_reason_given_is_kept(
        self, client: httpx.AsyncClient, admin: SignedIn, row: Session
    ) -> None:
        body = {"reason": "Car towed away"}
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers, json=body)
        assert answer.json()["transaction"]["stop_reason"] == "Car towed away"

    @pytest.mark.parametrize("reason", ["", "x" * 41, "a\x00b", 5])
    async def test_an_odd_reason_is_refused(
        self, client: httpx.AsyncClient, admin: SignedIn, row: Session, reason: Any
    ) -> None:
        body = {"reason": reason}
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers, json=body)
        assert answer.status_code == 422

    async def test_what_has_ended_is_a_conflict(
        self, client: httpx.AsyncClient, world: World, admin: SignedIn
    ) -> None:
        row = await world.session(await world.charger(), status=SessionStatus.COMPLETED)
        answer = await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)
        assert answer.status_code == 409
        assert answer.json()["error"] == "TransactionEnded"

    async def test_a_stop_that_comes_while_the_charger_is_asked_counts(
        self, app: FastAPI, client: httpx.AsyncClient, admin: SignedIn, row: Session, db: Database
    ) -> None:
        class Stopping(FakeCharger):
            async def call(self, *args: Any, **kwargs: Any) -> Answer:
                async with db.session() as session:
                    known = await session.get_one(Session, row.id)
                    known.status, known.closed_by = SessionStatus.COMPLETED, ClosedBy.CHARGER
                    known.stop_reason = "Local"
                return Answer({"status": "Rejected"})

        app.state.links.attach(row.charger_id, Stopping(Answer()))
        body = (await client.post(f"{URL}/{row.id}/force-stop", headers=admin.headers)).json()
        assert (body["status"], body["answer"]) == ("Completed", "Rejected")
        assert (body["transaction"]["status"], body["transaction"]["stop_reason"]) == ("Completed", "Local")

    async def test_nothing_is_held_in_the_database_while_the_charger_thinks(
        self, server: RunningServer, server_world: World
    ) -> None:
        held = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
        )

        class Thinking(FakeCharger):
            async def call(self, *args: Any, **kwargs: Any) -> Answer:
                # Others may be at work for a moment; what this request held would be held for good.
                async with asyncio.timeout(60):
                    while True:
                        async with server.database.session() as session:
                            if await session.scalar(held) == 0:
                                return Answer({"status": "Accepted"})

        admin = await server_world.admin()
        row = await server_world.session(await server_world.charger())
        server.app.state.links.attach(row.charger_id, Thinking(Answer()))
        async with httpx.AsyncClient(base_url=server.http, headers=admin.headers) as client:
            answer = await client.post(f"{URL}/{row.id}/force-stop")
        assert answer.json()["status"] == "Accepted"
