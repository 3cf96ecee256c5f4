"""The password of a charger changes over the air, on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.chargers import RawCharger, basic, charger, until
from tests.conftest import SECRET
from tests.gateway.admin import admin_client
from tests.gateway.knocking import knock
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.db import Database
from ohmstead.gateway.models import Message
from ohmstead.ocpp.frames import encode_error
from ohmstead.stations.models import Charger, NextPassword

OLD = "the-old-password"
HEX = "00ff" * 10


@pytest.fixture
async def row(server_world: World) -> Charger:
    return await server_world.charger(security_profile=1, password_hash=secret_hash(OLD, SECRET))


@pytest.fixture
async def client(server: RunningServer, server_world: World) -> AsyncIterator[httpx.AsyncClient]:
    user = await server_world.admin()
    async with admin_client(server.http, user.headers) as client:
        yield client


def header(row: Charger, password: str | bytes) -> str:
    secret = password if isinstance(password, bytes) else password.encode()
    return f"Authorization: {basic(row.id.encode(), secret)['Authorization']}"


async def is_let_in(server: RunningServer, row: Charger, password: str | bytes) -> bool:
    return (await knock(server.port, f"/ocpp/{row.id}", header(row, password))).status == 101


async def offers(database: Database, row: Charger) -> int:
    async with database.session() as session:
        found = await session.scalars(select(NextPassword).where(NextPassword.charger_id == row.id))
        return len(found.all())


def connected(server: RunningServer, row: Charger, password: str = OLD) -> Any:
    return charger(server.ws, row.id, headers=basic(row.id.encode(), password.encode()))


def rotating(client: httpx.AsyncClient, row: Charger, seconds: float = 10) -> "asyncio.Task[httpx.Response]":
    path = f"/api/admin/chargers/{row.id}/rotate-password"
    return asyncio.create_task(client.post(path, params={"timeout": seconds}))


def changing(client: httpx.AsyncClient, row: Charger, value: str) -> "asyncio.Task[httpx.Response]":
    path = f"/api/admin/chargers/{row.id}/commands/ChangeConfiguration"
    return asyncio.create_task(client.post(path, json={"key": "authorizationkey", "value": value}))


async def sent_key(raw: RawCharger) -> tuple[list[Any], str]:
    """The CALL that brings a new key, and the key."""
    frame = await raw.next_call()
    assert frame[2] == "ChangeConfiguration"
    assert frame[3]["key"].lower() == "authorizationkey"
    return frame, frame[3]["value"]


class TestRotation:
    async def test_an_accepted_password_is_the_only_one_before_the_command_is_answered(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            assert len(bytes.fromhex(key)) == 20
            await raw.answer(frame, {"status": "Accepted"})
            assert (await answer).json() == {"status": "Accepted", "password": "New"}
            assert await is_let_in(server, row, key)
            assert await is_let_in(server, row, bytes.fromhex(key))
            assert not await is_let_in(server, row, OLD)
            assert await offers(server.database, row) == 0

    @pytest.mark.parametrize("status", ["Rejected", "NotSupported"])
    async def test_a_refused_one_changes_nothing(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger, status: str
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            await raw.answer(frame, {"status": status})
            assert (await answer).json() == {"status": status, "password": "Old"}
            assert not await is_let_in(server, row, key)
            assert await is_let_in(server, row, OLD)

    async def test_a_charger_that_is_back_with_the_new_one_before_its_answer_is_let_in(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            _, key = await sent_key(raw)
            assert await is_let_in(server, row, OLD), "nobody knows yet whether it takes it"
            async with connected(server, row, key) as back:
                await back.result("Heartbeat")
                assert (await answer).json()["error"] == "ChargerOffline"
                await until(lambda: _none(offers(server.database, row)))
        assert await is_let_in(server, row, key)
        assert not await is_let_in(server, row, OLD)

    async def test_one_that_is_not_answered_is_decided_by_the_next_handshake_for_the_new(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row, seconds=1)
            _, key = await sent_key(raw)
            assert (await answer).json() == {"status": "Timeout", "password": "Both"}
        assert await is_let_in(server, row, key)
        await until(lambda: _none(offers(server.database, row)))
        assert not await is_let_in(server, row, OLD)

    async def test_or_for_the_old(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            await raw.send(encode_error(frame[1], "InternalError", "no room", {}))
            assert (await answer).json() == {
                "status": "CallError",
                "error": {"code": "InternalError", "description": "no room"},
                "password": "Both",
            }
        assert await is_let_in(server, row, OLD)
        await until(lambda: _none(offers(server.database, row)))
        assert not await is_let_in(server, row, key)

    async def test_a_charger_that_leaves_in_between_may_come_back_with_either(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            _, key = await sent_key(raw)
            await raw.vanish()
            assert (await answer).status_code == 409
        assert await offers(server.database, row) == 1
        assert await is_let_in(server, row, key)

    async def test_one_that_wants_a_restart_is_waited_for_however_often_the_old_one_is_used(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            await raw.answer(frame, {"status": "RebootRequired"})
            assert (await answer).json() == {"status": "RebootRequired", "password": "Both"}
        for _ in range(2):
            async with connected(server, row) as raw:
                await raw.result("Heartbeat")
        assert await is_let_in(server, row, key)
        await until(lambda: _none(offers(server.database, row)))
        assert not await is_let_in(server, row, OLD)

    async def test_asking_again_while_it_is_away_does_not_forget_what_it_may_have_taken(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            _, key = await sent_key(raw)
            await raw.vanish()
            await answer
        for _ in range(2):
            assert (await rotating(client, row)).status_code == 409
        assert await is_let_in(server, row, key)
        await until(lambda: _at_most(offers(server.database, row), 2))
        assert not await is_let_in(server, row, OLD)


class TestAtOnce:
    @pytest.mark.parametrize("number", [2, 5])
    async def test_one_is_sent_and_the_others_are_told_so(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger, number: int
    ) -> None:
        async with connected(server, row) as raw:
            asked = [rotating(client, row) for _ in range(number)]
            frame, key = await sent_key(raw)
            await until(lambda: _is(sum(one.done() for one in asked), number - 1))
            await raw.answer(frame, {"status": "Accepted"})
            answers = sorted(await asyncio.gather(*asked), key=lambda one: one.status_code)
            assert answers[0].json() == {"status": "Accepted", "password": "New"}
            assert [(one.status_code, one.json()["error"]) for one in answers[1:]] == [
                (409, "PasswordUndecided")
            ] * (number - 1)
            assert raw.calls.empty()
            assert await is_let_in(server, row, key)
            assert not await is_let_in(server, row, OLD)
            assert await offers(server.database, row) == 0

    async def test_whichever_way_it_is_sent_the_chargers_key_is_the_servers(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        keys: list[str] = []

        async def accept_all(raw: RawCharger) -> None:
            while True:
                frame, key = await sent_key(raw)
                keys.append(key)
                await asyncio.sleep(0)
                await raw.answer(frame, {"status": "Accepted"})

        path = f"/api/admin/chargers/{row.id}/configuration"
        async with connected(server, row) as raw:
            accepting = asyncio.create_task(accept_all(raw))
            for turn in range(5):
                value = f"{turn:02}" * 20
                body = {"keys": {"AuthorizationKey": value.replace("0", "a")}}
                answers = await asyncio.gather(
                    rotating(client, row),
                    changing(client, row, value),
                    client.put(path, json=body),
                    rotating(client, row),
                )
                assert {one.status_code for one in answers} <= {200, 409}
                assert sum(one.status_code == 200 for one in answers) >= 1
                assert await is_let_in(server, row, keys[-1])
                assert not any([await is_let_in(server, row, key) for key in {*keys[:-1], OLD} - {keys[-1]}])
            accepting.cancel()


class TestByCommand:
    @pytest.mark.parametrize("value", [HEX, HEX.upper(), "a-text-that-is-no-key"])
    async def test_an_operators_own_key_counts_as_well(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger, value: str
    ) -> None:
        async with connected(server, row) as raw:
            answer = changing(client, row, value)
            frame, key = await sent_key(raw)
            assert key == value
            await raw.answer(frame, {"status": "Accepted"})
            assert (await answer).json() == {"status": "Accepted", "response": {"status": "Accepted"}}
        assert await is_let_in(server, row, value)
        if value != "a-text-that-is-no-key":
            assert await is_let_in(server, row, bytes.fromhex(value))
        assert not await is_let_in(server, row, OLD)

    @pytest.mark.parametrize("value", ["", "short", "with a space", "x" * 129])
    async def test_a_key_that_could_not_be_shown_at_a_handshake_is_not_sent(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger, value: str
    ) -> None:
        async with connected(server, row) as raw:
            answer = await changing(client, row, value)
            assert answer.status_code == 422
            assert raw.calls.empty()
        assert await offers(server.database, row) == 0

    async def test_an_answer_without_a_status_is_no_acceptance(
        self, server: RunningServer, client: httpx.AsyncClient, row: Charger
    ) -> None:
        async with connected(server, row) as raw:
            answer = changing(client, row, HEX)
            frame, _ = await sent_key(raw)
            await raw.answer(frame, {})
            await answer
            assert await offers(server.database, row) == 1
            assert await is_let_in(server, row, OLD)

    async def test_a_charger_without_a_password_gets_one_for_when_its_profile_asks_for_it(
        self, server: RunningServer, server_world: World, client: httpx.AsyncClient
    ) -> None:
        row = await server_world.charger()
        async with charger(server.ws, row.id) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            await raw.answer(frame, {"status": "Accepted"})
            assert (await answer).json()["password"] == "New"
        await client.put(f"/api/admin/chargers/{row.id}", json={"security_profile": 1})
        assert await is_let_in(server, row, key)
        assert not await is_let_in(server, row, "")


class TestSecrecy:
    async def test_the_key_is_in_no_log_and_in_no_answer(
        self,
        server: RunningServer,
        client: httpx.AsyncClient,
        row: Charger,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with connected(server, row) as raw:
            answer = rotating(client, row)
            frame, key = await sent_key(raw)
            await raw.answer(frame, {"status": "Accepted"})
            texts = [(await answer).text]
        for path in ("configuration", "configuration/history", ""):
            texts.append((await client.get(f"/api/admin/chargers/{row.id}/{path}".rstrip("/"))).text)

        async def logged() -> list[Message]:
            async with server.database.session() as session:
                rows = await session.scalars(select(Message).where(Message.charger_id == row.id))
                return [one for one in rows if one.action == "ChangeConfiguration"]

        for message in await until(logged):
            texts += [message.request, message.response or ""]
        printed = capsys.readouterr()
        texts += [printed.out, printed.err, caplog.text]
        assert not any(key in text.lower() for text in texts)


async def _none(counting: Any) -> bool:
    return bool(await counting == 0)


async def _at_most(counting: Any, number: int) -> bool:
    return bool(await counting <= number)


async def _is(number: int, wanted: int) -> bool:
    return number == wanted
