"""Who a charger says it is: Basic auth for profiles 1 and 2, TLS, and what is kept of those refused."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.chargers import RawCharger, basic, charger, until
from tests.conftest import SECRET
from tests.gateway.admin import AdminApi, admin_client
from tests.gateway.knocking import knock, self_signed
from tests.running import RunningServer
from tests.world import World
from websockets.exceptions import InvalidStatus

from ohmstead.accounts.models import Role
from ohmstead.accounts.passwords import secret_hash
from ohmstead.gateway.models import Refusal
from ohmstead.gateway.presence import trim_refusals
from ohmstead.stations.models import Charger

MakeServer = Callable[..., AbstractAsyncContextManager[RunningServer]]
PASSWORD = b"correct horse battery"


def header(user: bytes, password: bytes) -> str:
    return f"Authorization: {basic(user, password)['Authorization']}"


async def with_password(
    world: World, profile: int = 1, password: bytes | str = PASSWORD, **fields: Any
) -> Charger:
    return await world.charger(
        security_profile=profile, password_hash=secret_hash(password, SECRET), **fields
    )


async def refused(api: AdminApi, charger_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many refusals of a charger are kept; newest first."""

    async def enough() -> list[dict[str, Any]]:
        found = await api.refusals(charger=charger_id)
        return found if len(found) >= count else []

    return list(await until(enough))


class TestBasicAuth:
    async def test_the_right_password_is_let_in(self, server: RunningServer, server_world: World) -> None:
        row = await with_password(server_world)
        async with charger(server.ws, row.id, headers=basic(row.id.encode(), PASSWORD)) as raw:
            assert (await raw.boot())["status"] == "Accepted"

    async def test_an_empty_user_name_is_taken_as_the_identity(
        self, server: RunningServer, server_world: World
    ) -> None:
        row = await with_password(server_world)
        async with charger(server.ws, row.id, headers=basic(b"", PASSWORD)) as raw:
            await raw.result("Heartbeat")

    async def test_an_identity_with_other_letters_is_compared_in_utf_8(
        self, server: RunningServer, server_world: World
    ) -> None:
        row = await with_password(server_world, id="Säule 9")
        async with charger(server.ws, "S%C3%A4ule%209", headers=basic("Säule 9".encode(), PASSWORD)) as raw:
            await raw.result("Heartbeat")
        assert (
            await knock(server.port, "/ocpp/S%C3%A4ule%209", header("Säule 9".encode("latin-1"), PASSWORD))
        ).status == 401
        assert row.id == "Säule 9"

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (None, "NoCredentials"),
            ("Authorization: Bearer abc", "NoCredentials"),
            ("Authorization: Basic", "NoCredentials"),
            ("Authorization: Basic ***", "NoCredentials"),
            (f"Authorization: Basic {base64.b64encode(b'no colon').decode()}", "NoCredentials"),
            (header(b"somebody else", PASSWORD), "WrongUser"),
            (header(b"{id}", b"wrong"), "WrongPassword"),
            (header(b"{id}", b""), "WrongPassword"),
            (header(b"{id}", PASSWORD + b"\n"), "WrongPassword"),
        ],
    )
    async def test_whatever_else_is_401_and_the_refusal_says_why(
        self, server: RunningServer, server_world: World, api: AdminApi, line: str | None, reason: str
    ) -> None:
        row = await with_password(server_world)
        if line is not None and "Basic " in line and reason.startswith("WrongP"):
            password = base64.b64decode(line.split()[-1]).partition(b":")[2]
            line = header(row.id.encode(), password)
        answer = await knock(server.port, f"/ocpp/{row.id}", *([line] if line else []))
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        [refusal] = await refused(api, row.id)
        assert (refusal["reason"], refusal["status"], refusal["charger_id"]) == (reason, 401, row.id)
        assert (await api.charger(row.id))["online"] is False

    async def test_a_password_with_a_colon_and_one_that_is_not_utf_8_are_compared_as_bytes(
        self, server: RunningServer, server_world: World
    ) -> None:
        for password in (b"a:b:c", b"\xff\xfe\x00\x80 key", bytes(range(20))):
            row = await with_password(server_world, password=password)
            async with charger(server.ws, row.id, headers=basic(row.id.encode(), password)) as raw:
                await raw.result("Heartbeat")

    @pytest.mark.parametrize("digits", ["0123456789abcdefABCDEF0123456789abcdef01", "FF00FF00FF00FF00FF00"])
    async def test_a_key_set_in_hexadecimal_may_be_sent_as_its_bytes(
        self, server: RunningServer, server_world: World, digits: str
    ) -> None:
        for written in (digits.lower(), digits.upper()):
            row = await with_password(server_world, password=written)
            key = bytes.fromhex(digits)
            async with charger(server.ws, row.id, headers=basic(row.id.encode(), key)) as raw:
                await raw.result("Heartbeat")
            async with charger(server.ws, row.id, headers=basic(row.id.encode(), written.encode())) as raw:
                await raw.result("Heartbeat")
            assert (await knock(server.port, f"/ocpp/{row.id}", header(b"", key[:-1]))).status == 401

    async def test_profile_0_takes_no_notice_of_credentials(
        self, server: RunningServer, row: Charger
    ) -> None:
        async with charger(server.ws, row.id, headers=basic(b"x", b"y")) as raw:
            await raw.result("Heartbeat")

    async def test_a_profile_without_a_stored_password_lets_nobody_in(
        self, server: RunningServer, server_world: World
    ) -> None:
        row = await server_world.charger(security_profile=1)
        assert (await knock(server.port, f"/ocpp/{row.id}", header(row.id.encode(), b""))).status == 401

    async def test_profile_3_is_refused_until_certificates_are_checked(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await with_password(server_world, 3)
        assert (await knock(server.port, f"/ocpp/{row.id}", header(b"", PASSWORD))).status == 401
        assert (await refused(api, row.id))[0]["reason"] == "ClientCertificate"


class TestTls:
    async def test_profile_2_needs_tls_and_gets_it(
        self,
        server: RunningServer,
        make_server: MakeServer,
        server_world: World,
        api: AdminApi,
        tmp_path: Path,
    ) -> None:
        plain = await with_password(server_world, 2)
        assert (await knock(server.port, f"/ocpp/{plain.id}", header(b"", PASSWORD))).status == 401
        assert (await refused(api, plain.id))[0]["reason"] == "TlsRequired"
        cert, key, trusting = self_signed(tmp_path)
        async with make_server(tls_cert=cert, tls_key=key) as secure:
            world = World(secure.database, secure.settings, secure.app.state.clock)
            row = await with_password(world, 2)
            address = f"wss://127.0.0.1:{secure.port}"
            good = basic(row.id.encode(), PASSWORD)
            async with charger(address, row.id, headers=good, ssl=trusting) as raw:
                assert (await raw.boot())["status"] == "Accepted"
                await raw.send(b'[2,"x","Heartbeat",{}]')
                assert (await raw.stray.get())[:2] == [3, "x"]
            with pytest.raises(InvalidStatus) as refusal:
                await RawCharger.connect(address, row.id, headers=basic(b"", b"wrong"), ssl=trusting)
            assert refusal.value.response.status_code == 401

    async def test_a_trusted_proxy_may_say_that_the_charger_uses_tls(
        self, server: RunningServer, make_server: MakeServer, server_world: World, api: AdminApi
    ) -> None:
        lines = ("X-Forwarded-Proto: https", "X-Forwarded-For: 198.51.100.7", header(b"", PASSWORD))
        untrusting = await with_password(server_world, 2)
        assert (await knock(server.port, f"/ocpp/{untrusting.id}", *lines)).status == 401
        [refusal] = await refused(api, untrusting.id)
        assert (refusal["reason"], refusal["address"]) == ("TlsRequired", "127.0.0.1")
        async with make_server(trusted_proxies=(ip_network("127.0.0.0/8"),)) as behind:
            world = World(behind.database, behind.settings, behind.app.state.clock)
            row = await with_password(world, 2)
            assert (await knock(behind.port, f"/ocpp/{row.id}", *lines)).status == 101
            assert (await knock(behind.port, f"/ocpp/{row.id}", *lines[1:])).status == 401
            user = await world.admin()
            async with admin_client(behind.http, user.headers) as client:
                here = AdminApi(client)
                assert (await refused(here, row.id))[0]["address"] == "198.51.100.7"
                assert (await here.connections(row.id))[0]["address"] == "198.51.100.7"


class TestLimits:
    async def test_too_many_refusals_of_one_charger_at_one_address_are_429(
        self, make_server: MakeServer
    ) -> None:
        async with make_server(
            ocpp_refusals_per_minute=3, trusted_proxies=(ip_network("127.0.0.0/8"),)
        ) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row, neighbour, user = await with_password(world), await world.charger(), await world.admin()
            there = "X-Forwarded-For: 203.0.113.9"
            # A minute may end while this runs: then the count begins anew, once.
            statuses = [
                (await knock(server.port, f"/ocpp/{row.id}?key=hunter2", there)).status for _ in range(8)
            ]
            assert statuses[:3] == [401] * 3
            assert set(statuses) == {401, 429}
            last = await knock(server.port, f"/ocpp/{row.id}", there)
            if last.status == 429:
                assert int(last.headers["retry-after"]) > 0
            right = header(row.id.encode(), PASSWORD)
            elsewhere = "X-Forwarded-For: 203.0.113.10"
            assert (await knock(server.port, f"/ocpp/{row.id}", elsewhere, right)).status == 101
            for _ in range(8):
                assert (await knock(server.port, f"/ocpp/{neighbour.id}", there)).status == 101
            async with admin_client(server.http, user.headers) as client:
                kept = await refused(AdminApi(client), row.id, 8)
            assert {one["address"] for one in kept} == {"203.0.113.9"}
            assert "TooManyRefusals" in {one["reason"] for one in kept}
            assert "hunter2" not in str(kept)


class TestRefusals:
    async def test_they_are_seen_by_the_business_of_the_charger_only(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        business = await server_world.backoffice()
        mine, other = await server_world.station(business), await server_world.station(business)
        row = await with_password(server_world, station=mine)
        assert (await knock(server.port, f"/ocpp/{row.id}")).status == 401
        assert (await knock(server.port, "/ocpp/stranger-at-the-door")).status == 404
        await refused(api, row.id)
        await refused(api, "stranger-at-the-door")
        seen_by = {
            "owner": await server_world.user(Role.BACKOFFICE, business),
            "operator": await server_world.user(Role.OPERATOR, business, (mine,)),
            "elsewhere": await server_world.user(Role.OPERATOR, business, (other,)),
            "another": await server_world.user(Role.BACKOFFICE),
        }
        counts = {}
        for name, user in seen_by.items():
            async with admin_client(server.http, user.headers) as client:
                found = await AdminApi(client).refusals()
                counts[name] = [one["charger_id"] for one in found]
        assert counts == {"owner": [row.id], "operator": [row.id], "elsewhere": [], "another": []}

    async def test_secrets_in_the_address_are_not_kept(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await with_password(server_world)
        await knock(server.port, f"/ocpp/{row.id}?password=hunter2&token=hunter2")
        await knock(server.port, "/ocpp/%FF?password=hunter2")
        await knock(server.port, "/ocpp/ftp%3A%2F%2Fuser%3Ahunter2%40host%2Fx")
        await refused(api, row.id)

        async def all_kept() -> bool:
            return any(one["charger_id"].startswith("ftp://") for one in await api.refusals())

        await until(all_kept)
        assert "hunter2" not in str(await api.refusals())

    async def test_a_flood_of_knocks_is_answered_and_not_a_flood_of_rows(
        self, server: RunningServer, api: AdminApi
    ) -> None:
        answers = await asyncio.gather(*(knock(server.port, "/ocpp/flooding-stranger") for _ in range(120)))
        assert {answer.status for answer in answers} == {404}
        kept = await refused(api, "flooding-stranger")
        assert 1 <= len(kept) < 120

    async def test_only_the_newest_are_kept(self, server: RunningServer, api: AdminApi) -> None:
        for number in range(4):
            await knock(server.port, f"/ocpp/trimmed-{number}")
            await refused(api, f"trimmed-{number}")
        async with server.database.session() as session:
            await trim_refusals(session, 2)
            assert await session.scalar(select(func.count()).select_from(Refusal)) == 2
        assert [one["charger_id"] for one in await api.refusals()] == ["trimmed-3", "trimmed-2"]
