"""The live socket, over a real one."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.insights.conftest import LiveServer, event, listening
from tests.world import SignedIn, World

from ohmstead.accounts.models import Backoffice, Role, UserStatus
from ohmstead.core.errors import Unavailable
from ohmstead.core.live import Event, Topic
from ohmstead.insights import live
from ohmstead.notifications.models import AlertKind, Severity
from ohmstead.notifications.service import raise_alert
from ohmstead.stations.models import Charger, Station


class TestSigningOn:
    async def test_silence_is_ended(self, live_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live, "HELLO_SECONDS", 0.05)
        async with listening(live_server) as listener:
            code, reason = await listener.closed()
        assert code == 4401
        assert "first message" in reason

    @pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
    async def test_a_bad_token(self, live_server: LiveServer, token: str) -> None:
        async with listening(live_server) as listener:
            await listener.say(token=token, topics=["chargers"])
            assert (await listener.closed())[0] == 4401

    async def test_no_token(self, live_server: LiveServer) -> None:
        async with listening(live_server) as listener:
            await listener.say(topics=["chargers"])
            assert (await listener.closed())[0] == 4401

    async def test_a_deactivated_user(
        self, live_server: LiveServer, live_world: World, business: Backoffice
    ) -> None:
        user = await live_world.user(Role.BACKOFFICE, business, status=UserStatus.DEACTIVATED)
        async with listening(live_server) as listener:
            await listener.say(token=user.token, topics=["chargers"])
            code, reason = await listener.closed()
        assert code == 4401
        assert "deactivated" in reason

    @pytest.mark.parametrize(
        "message",
        [
            "",
            "not json",
            "[]",
            '{"token": "x"}',
            '{"token": "x", "topics": []}',
            '{"token": "x", "topics": ["everything"]}',
            '{"token": "x", "topics": ["chargers"], "since": {"epoch": "a", "version": -1}}',
            '{"token": "x", "topics": ["chargers"], "charger": "a\\u0000"}',
            '{"token": "x", "topics": ["chargers"], "surprise": 1}',
            "x" * 20_000,
            b"\x00\x01",
        ],
    )
    async def test_a_first_message_that_cannot_be_read(
        self, live_server: LiveServer, message: str | bytes
    ) -> None:
        async with listening(live_server) as listener:
            await listener.socket.send(message)
            code, reason = await listener.closed()
        assert code == 4400
        assert reason

    async def test_the_log_is_for_a_system_admin_alone(
        self, live_server: LiveServer, live_world: World, owner: SignedIn
    ) -> None:
        async with listening(live_server) as listener:
            await listener.say(token=owner.token, topics=["chargers", "log"])
            code, reason = await listener.closed()
            assert code == 4403
            assert "log" in reason
        admin = await live_world.admin()
        async with listening(live_server) as listener:
            assert (await listener.hello(admin, "log"))["topics"] == ["log"]

    async def test_a_driver_has_no_topic_yet(self, live_server: LiveServer, live_world: World) -> None:
        driver = await live_world.user(Role.EV_OWNER)
        async with listening(live_server) as listener:
            await listener.say(token=driver.token, topics=["sessions"])
            assert (await listener.closed())[0] == 4403

    async def test_who_has_a_temporary_password_changes_that_first(
        self, live_server: LiveServer, live_world: World
    ) -> None:
        boss = await live_world.user(Role.BACKOFFICE, must_change_password=True)
        async with listening(live_server) as listener:
            await listener.say(token=boss.token, topics=["sessions"])
            code, reason = await listener.closed()
        assert code == 4403
        assert "password" in reason

    async def test_the_database_away(
        self, live_server: LiveServer, owner: SignedIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(*_: Any) -> None:
            raise Unavailable("The database does not answer.")

        async with listening(live_server) as listener:
            monkeypatch.setattr(live, "principal_by", away)
            await listener.say(token=owner.token, topics=["sessions"])
            assert (await listener.closed())[0] == 1013


class TestSnapshot:
    async def test_tells_how_things_stand_in_the_callers_scope(
        self, live_server: LiveServer, live_world: World, owner: SignedIn, charger: Charger
    ) -> None:
        await live_world.charger()
        await live_world.charger(await live_world.station(), retired_at=datetime.now(UTC))
        row = await live_world.session(charger, energy_wh=Decimal("12.5"), ocpp_transaction_id=4242)
        await live_world.session(
            charger,
            connector_id=1,
            started_at=None,
            stopped_at=row.occurred_at,
            unmatched=True,
            status="Completed",
            fingerprint=uuid4().hex,
        )
        async with live_server.app.state.database.session() as session:
            await raise_alert(
                session,
                kind=AlertKind.CHARGER_OFFLINE,
                subject=charger.id,
                severity=Severity.WARN,
                title="away",
                message="it is away",
                backoffice_id=charger.backoffice_id,
                station_id=charger.station_id,
                charger_id=charger.id,
                now=datetime.now(UTC),
            )
        async with listening(live_server) as listener:
            welcome = await listener.hello(owner, "chargers", "connectors", "sessions", "alerts", "messages")
            assert welcome["epoch"] == live_server.bus.epoch
            assert welcome["topics"] == ["alerts", "chargers", "connectors", "messages", "sessions"]
            told = {}
            for _ in range(4):
                snapshot = await listener.hear_type("snapshot")
                assert (snapshot["version"], snapshot["more"]) == (welcome["version"], False)
                told[snapshot["topic"]] = snapshot["items"]
        assert told["chargers"] == [
            {
                "id": charger.id,
                "name": "By the door",
                "station_id": str(charger.station_id),
                "online": False,
                "last_seen": None,
                "registration": "Accepted",
                "status": "Active",
                "simulated": False,
            }
        ]
        assert told["connectors"] == [
            {
                "charger_id": charger.id,
                "connector_id": 1,
                "status": None,
                "error_code": None,
                "info": None,
                "since": None,
            }
        ]
        [active] = told["sessions"]
        assert (active["id"], active["energy_wh"]) == (str(row.id), 12.5)
        assert active["ocpp_transaction_id"] == 4242
        [alert] = told["alerts"]
        assert (alert["kind"], alert["charger_id"]) == ("ChargerOffline", charger.id)

    async def test_an_operator_is_told_of_its_stations_only(
        self,
        live_server: LiveServer,
        live_world: World,
        business: Backoffice,
        place: Station,
        charger: Charger,
    ) -> None:
        await live_world.charger(await live_world.station(business))
        operator = await live_world.user(Role.OPERATOR, business, (place,))
        async with listening(live_server) as listener:
            await listener.hello(operator, "chargers")
            items = (await listener.hear_type("snapshot"))["items"]
        assert [item["id"] for item in items] == [charger.id]

    async def test_comes_in_pieces_and_is_capped(
        self,
        live_server: LiveServer,
        live_world: World,
        owner: SignedIn,
        place: Station,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(live, "SNAPSHOT_PIECE", 2)
        monkeypatch.setattr(live, "SNAPSHOT_ITEMS", 5)
        made = sorted([(await live_world.charger(place)).id for _ in range(6)])
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers")
            pieces = [await listener.hear_type("snapshot") for _ in range(3)]
        assert [item["id"] for piece in pieces for item in piece["items"]] == made[:5]
        assert [piece["more"] for piece in pieces] == [True, True, False]
        assert [piece["truncated"] for piece in pieces] == [False, False, True]

    async def test_of_one_charger(
        self, live_server: LiveServer, live_world: World, owner: SignedIn, place: Station, charger: Charger
    ) -> None:
        await live_world.charger(place)
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers", "connectors", charger=charger.id)
            for _ in range(2):
                snapshot = await listener.hear_type("snapshot")
                assert len(snapshot["items"]) == 1

    async def test_what_happens_while_it_is_read_comes_after_it(
        self,
        live_server: LiveServer,
        owner: SignedIn,
        charger: Charger,
    ) -> None:
        state, bus = live_server.app.state, live_server.bus
        before = state.live_snapshots

        async def slowly(*arguments: Any) -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = await before[Topic.CHARGERS](*arguments)
            bus.publish(event(charger))
            return items

        state.live_snapshots = {**before, Topic.CHARGERS: slowly}
        try:
            async with listening(live_server) as listener:
                welcome = await listener.hello(owner, "chargers")
                assert (await listener.hear())["type"] == "snapshot"
                heard = await listener.hear()
        finally:
            state.live_snapshots = before
        assert heard["type"] == "event"
        assert heard["version"] > welcome["version"]


class TestEvents:
    async def test_come_in_order_with_version_time_and_data(
        self, live_server: LiveServer, owner: SignedIn, charger: Charger
    ) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers")
            await listener.hear_type("snapshot")
            started = datetime.now(UTC)
            live_server.bus.publish(event(charger, wh=Decimal("1.5"), since=started, who=UUID(int=1)))
            live_server.bus.publish(event(charger, "charger.offline"))
            first, second = await listener.hear(), await listener.hear()
        assert (first["topic"], first["kind"]) == ("chargers", "charger.online")
        assert first["data"]["wh"] == 1.5
        assert first["data"]["since"].endswith("Z")
        assert first["data"]["who"] == str(UUID(int=1))
        assert first["at"].endswith("Z")
        assert abs(datetime.fromisoformat(first["at"]) - started) < timedelta(seconds=10)
        assert second["version"] == first["version"] + 1

    async def test_of_others_and_of_other_topics_are_not_told(
        self, live_server: LiveServer, live_world: World, owner: SignedIn, charger: Charger
    ) -> None:
        stranger = await live_world.charger()
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers")
            await listener.hear_type("snapshot")
            live_server.bus.publish(event(stranger))
            live_server.bus.publish(event(charger, topic=Topic.CONNECTORS))
            live_server.bus.publish(Event(Topic.CHARGERS, "nobody's", {}))
            live_server.bus.publish(event(charger, "mine"))
            assert (await listener.hear())["kind"] == "mine"

    async def test_of_one_charger(
        self, live_server: LiveServer, live_world: World, owner: SignedIn, place: Station, charger: Charger
    ) -> None:
        beside = await live_world.charger(place)
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers", "messages", charger=charger.id)
            await listener.hear_type("snapshot")
            live_server.bus.publish(event(beside))
            for of in (beside, charger):
                tail = Event(
                    Topic.MESSAGES, "message", {"charger_id": of.id, "id": 7}, of.backoffice_id, of.station_id
                )
                live_server.bus.publish(tail)
            live_server.bus.publish(event(charger, "mine"))
            assert (await listener.hear())["data"] == {"charger_id": charger.id, "id": 7}
            assert (await listener.hear())["kind"] == "mine"

    async def test_of_a_rolled_back_change_are_not_told(
        self, live_server: LiveServer, owner: SignedIn, charger: Charger
    ) -> None:
        database = live_server.app.state.database
        async with listening(live_server) as listener:
            await listener.hello(owner, "alerts")
            await listener.hear_type("snapshot")
            for fails in (True, False):
                try:
                    async with database.session() as session:
                        await raise_alert(
                            session,
                            kind=AlertKind.SECURITY_EVENT,
                            subject=f"{charger.id}:{fails}",
                            severity=Severity.CRITICAL,
                            title="t",
                            message="m",
                            backoffice_id=charger.backoffice_id,
                            station_id=charger.station_id,
                            charger_id=charger.id,
                            now=datetime.now(UTC),
                        )
                        if fails:
                            raise RuntimeError("no")
                except RuntimeError:
                    pass
            heard = await listener.hear()
        assert (heard["kind"], heard["data"]["subject"]) == ("alert.raised", f"{charger.id}:False")


class TestComingBack:
    async def test_what_was_missed_is_told_and_nothing_twice(
        self, live_server: LiveServer, owner: SignedIn, charger: Charger
    ) -> None:
        async with listening(live_server) as listener:
            welcome = await listener.hello(owner, "chargers")
        live_server.bus.publish(event(charger, "missed 1"))
        live_server.bus.publish(event(charger, "missed 2"))
        since = {"epoch": welcome["epoch"], "version": welcome["version"]}
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers", since=since)
            heard = [(await listener.hear())["kind"] for _ in range(2)]
            live_server.bus.publish(event(charger, "new"))
            heard.append((await listener.hear())["kind"])
        assert heard == ["missed 1", "missed 2", "new"]

    async def test_nothing_missed_is_no_snapshot(
        self, live_server: LiveServer, owner: SignedIn, charger: Charger
    ) -> None:
        since = {"epoch": live_server.bus.epoch, "version": live_server.bus.version}
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers", since=since)
            live_server.bus.publish(event(charger, "new"))
            assert (await listener.hear())["kind"] == "new"

    @pytest.mark.parametrize("change", [{"epoch": "another life"}, {"version": 2**40}])
    async def test_what_the_buffer_does_not_hold_is_a_resync_and_a_snapshot(
        self, live_server: LiveServer, owner: SignedIn, charger: Charger, change: dict[str, Any]
    ) -> None:
        since = {"epoch": live_server.bus.epoch, "version": live_server.bus.version} | change
        async with listening(live_server) as listener:
            await listener.hello(owner, "chargers", since=since)
            assert (await listener.hear())["type"] == "resync"
            snapshot = await listener.hear()
        assert (snapshot["type"], [item["id"] for item in snapshot["items"]]) == ("snapshot", [charger.id])


class TestTalk:
    async def test_a_ping_is_answered(self, live_server: LiveServer, owner: SignedIn) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "messages")
            await listener.say(type="ping")
            assert await listener.hear() == {"type": "pong"}

    @pytest.mark.parametrize("message", ["nonsense", "[]", '"ping"', '{"type": "subscribe"}', "5"])
    async def test_anything_else_is_an_error_and_the_socket_lives(
        self, live_server: LiveServer, owner: SignedIn, message: str
    ) -> None:
        async with listening(live_server) as listener:
            await listener.hello(owner, "messages")
            await listener.socket.send(message)
            assert (await listener.hear())["type"] == "error"
            await listener.say(type="ping")
            assert (await listener.hear())["type"] == "pong"
