"""Many values within a second: whoever looks sees all that has been answered."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, text
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from tests.world import World

from ohmstead.charging import ending, measuring, service
from ohmstead.charging.metering import METER_VALUE
from ohmstead.charging.models import ClosedBy, Session
from ohmstead.stations.models import Charger

BEGIN = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
POWER = "Power.Active.Import"


def second(seconds: int) -> str:
    return (BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class TestManyValuesASecond:
    async def test_each_is_in_the_session_as_soon_as_it_is_answered(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        for number in range(1, 6):
            await raw.meter(second(10 * number), str(30 * number), transaction=transaction)
            assert (await api.transaction(transaction))["energy_wh"] == 30 * number
        await raw.meter(second(60), "11000", transaction=transaction, measurand=POWER, unit="W")
        [listed] = await api.transactions((await api.transaction(transaction))["charger_id"])
        assert (listed["energy_wh"], listed["status"]) == (150, "Active")
        assert (await api.transaction(transaction))["power_w"] == 11_000

    async def test_they_reach_the_database_though_nobody_looks(
        self, server: RunningServer, raw: RawCharger, row: Charger, tag: str
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        for number in range(1, 6):
            await raw.meter(second(10 * number), str(30 * number), transaction=transaction)

        async def written() -> bool:
            async with server.database.engine.connect() as connection:
                query = "SELECT energy_wh FROM charging_session WHERE charger_id = :id"
                energy = await connection.scalar(text(query), {"id": row.id})
            return bool(energy == 150)

        await until(written)

    async def test_a_charger_that_leaves_and_is_back_at_once_goes_on_from_what_it_told_last(
        self, server: RunningServer, row: Charger, tag: str, api: AdminApi
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            transaction = (await raw.start(tag))["transactionId"]
            for number in range(1, 6):
                await raw.meter(second(10 * number), str(30 * number), transaction=transaction)
        async with charger(server.ws, row.id) as raw:
            # It has no register: whoever began from an older sum would write that again.
            await raw.meter(second(60), "7400", transaction=transaction, measurand=POWER, unit="W")
            session = await api.transaction(transaction)
            assert (session["energy_wh"], session["power_w"]) == (150, 7400)
            await raw.meter(second(70), "200", transaction=transaction)
            assert (await api.transaction(transaction))["energy_wh"] == 200

    async def test_an_odd_value_among_them_is_measured_with_all_that_came_before(
        self, raw: RawCharger, tag: str, api: AdminApi
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        for number in (1, 2, 3):
            await raw.meter(second(10 * number), str(30 * number), transaction=transaction)
        await raw.meter(second(5), "15", transaction=transaction)
        await raw.meter(second(40), "120", transaction=transaction)
        session = await api.transaction(transaction)
        assert (session["energy_wh"], session["anomalies"]) == (120, [])
        await raw.stop(transaction, 130, second(50))
        assert (await api.transaction(transaction))["energy_wh"] == 130

    async def test_they_are_written_before_the_server_ends(
        self, database_factory: Any, make_server: Any
    ) -> None:
        url = database_factory("figures")
        async with make_server(database_url=url) as first:
            world = World(first.database, first.settings, first.app.state.clock)
            row, tag = await world.charger(), (await world.token()).id_tag
            async with charger(first.ws, row.id) as raw:
                transaction = (await raw.start(tag))["transactionId"]
                for number in range(1, 6):
                    await raw.meter(second(10 * number), str(30 * number), transaction=transaction)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            query = "SELECT energy_wh FROM charging_session WHERE ocpp_transaction_id = %s"
            [energy] = await (await connection.execute(query, [transaction])).fetchone() or [None]
        assert energy == 150


async def close_by_operator(server: RunningServer, transaction: int) -> None:
    async with server.database.session() as session:
        query = select(Session.id).where(Session.ocpp_transaction_id == transaction)
        key = (await session.scalars(query)).one()
        await service.close_session(
            session, key, reason="ForceStopped", closed_by=ClosedBy.OPERATOR, now=datetime.now(UTC)
        )


class TestSessionsThatAreClosedMeanwhile:
    async def test_a_value_that_is_written_while_its_session_is_closed_counts(
        self,
        *,
        server: RunningServer,
        raw: RawCharger,
        tag: str,
        api: AdminApi,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It has come before the session ends, and is committed afterwards."""
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(second(60), "100", transaction=transaction)
        writer = server.app.state.gateway.writer
        held: list[Any] = []
        submit = writer.submit

        def hold(entry: Any) -> None:
            if any(kind is METER_VALUE for kind, _ in entry.facts):
                held.append(entry)
            else:
                submit(entry)

        monkeypatch.setattr(writer, "submit", hold)
        telling = asyncio.create_task(raw.meter(second(120), "250", transaction=transaction))

        async def arrived() -> bool:
            return bool(held)

        await until(arrived)
        await close_by_operator(server, transaction)
        assert (await api.transaction(transaction))["energy_wh"] == 100
        monkeypatch.undo()
        for entry in held:
            submit(entry)
        assert (await telling)[0] == 3

        async def counted() -> bool:
            session = await api.transaction(transaction)
            return (session["energy_wh"], session["stopped_at"]) == (250, second(120))

        await until(counted)

    async def test_a_value_that_is_committed_between_the_measuring_and_the_end_counts(
        self,
        *,
        server: RunningServer,
        raw: RawCharger,
        tag: str,
        api: AdminApi,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        transaction = (await raw.start(tag))["transactionId"]
        await raw.meter(second(60), "100", transaction=transaction)
        measured, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(*arguments: Any) -> Any:
            energy = await measuring.measure(*arguments)
            measured.set()
            await go_on.wait()
            return energy

        monkeypatch.setattr(ending, "measure", slowly)
        closing = asyncio.create_task(close_by_operator(server, transaction))
        await measured.wait()
        # Within the second: its figures do not go with it, they would wait for the session.
        assert (await raw.meter(second(120), "250", transaction=transaction))[0] == 3
        go_on.set()
        await closing

        async def counted() -> bool:
            return bool((await api.transaction(transaction))["energy_wh"] == 250)

        await until(counted)

    async def test_watchers_hear_the_last_of_several_values_and_nothing_after_the_end(
        self, server: RunningServer, raw: RawCharger, tag: str
    ) -> None:
        heard: list[Any] = []
        bus = server.app.state.live
        transaction = (await raw.start(tag))["transactionId"]
        really = bus.publish

        def publish(event: Any) -> None:
            if event.data.get("ocpp_transaction_id") == transaction:
                heard.append(event)
            really(event)

        bus.publish = publish
        try:
            for number in range(1, 6):
                await raw.meter(second(10 * number), str(30 * number), transaction=transaction)

            async def last() -> bool:
                return bool(heard and heard[-1].data["energy_wh"] == 150)

            await until(last)
            assert len(heard) < 5
            for number in range(6, 9):
                await raw.meter(second(10 * number), str(30 * number), transaction=transaction)
            await raw.stop(transaction, 300, second(100))
            server.app.state.figures.tick()
        finally:
            del bus.publish
        assert [one.kind for one in heard].count("session.ended") == 1
        assert heard[-1].kind == "session.ended"
