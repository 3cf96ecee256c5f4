"""The handshake: subprotocols and identities, with real sockets."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_network

import pytest
from tests.chargers import charger, until
from tests.gateway.admin import AdminApi
from tests.gateway.knocking import knock
from tests.running import RunningServer, free_port
from tests.world import World
from websockets.datastructures import Headers

from ohmstead.gateway.handshake import ADDRESS_FACTOR, RateLimit, client_address, is_secure
from ohmstead.stations.models import Charger

MakeServer = Callable[..., AbstractAsyncContextManager[RunningServer]]


async def refused(api: AdminApi, row: Charger) -> list[dict[str, object]]:
    """Wait for the refused handshakes of a charger to be kept."""
    return list(await until(lambda: api.refusals(charger=row.id)))


class TestSubprotocols:
    @pytest.mark.parametrize(
        ("offered", "answered"),
        [
            (("ocpp1.6",), "ocpp1.6"),
            (("ocpp2.0.1", "ocpp1.6"), "ocpp1.6"),
            (("soap", "ocpp1.5", "ocpp1.6", "ocpp2.1"), "ocpp1.6"),
            (("OCPP1.6",), "OCPP1.6"),
            (None, None),
        ],
    )
    async def test_ocpp_1_6_is_found_among_what_is_offered(
        self, server: RunningServer, row: Charger, offered: tuple[str, ...] | None, answered: str | None
    ) -> None:
        async with charger(server.ws, row.id, subprotocols=offered) as raw:
            assert raw.socket.subprotocol == answered
            assert (await raw.boot())["status"] == "Accepted"

    @pytest.mark.parametrize("offered", [("ocpp2.0.1",), ("ocpp1.5", "ocpp2.1"), ("chat",)])
    async def test_only_unknown_ones_are_accepted_without_one_and_closed(
        self, server: RunningServer, row: Charger, api: AdminApi, offered: tuple[str, ...]
    ) -> None:
        async with charger(server.ws, row.id, subprotocols=offered) as raw:
            assert raw.socket.subprotocol is None
            code, reason = await raw.closed()
        assert code == 1002
        assert "ocpp1.6" in reason
        assert (await api.charger(row.id))["online"] is False

    async def test_an_unknown_one_leaves_the_charger_that_is_connected_alone(
        self, server: RunningServer, row: Charger
    ) -> None:
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")
            async with charger(server.ws, row.id, subprotocols=("ocpp2.0.1",)) as other:
                await other.closed()
            await raw.result("Heartbeat")

    async def test_several_header_lines_are_one_list(self, server: RunningServer, row: Charger) -> None:
        lines = ("Sec-WebSocket-Protocol: ocpp2.0.1", "Sec-WebSocket-Protocol: ocpp1.6")
        answer = await knock(server.port, f"/ocpp/{row.id}", *lines)
        assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "ocpp1.6")


class TestIdentities:
    @pytest.mark.parametrize(
        ("identity", "path"),
        [
            ("DE*OHM*E1", "DE*OHM*E1"),
            ("DE*OHM*E2", "DE%2AOHM%2AE2"),
            ("a b", "a%20b"),
            ("house/7", "house%2F7"),
            ("house/8", "house/8"),
            ("Säule", "S%C3%A4ule"),
            ("slash", "slash/"),
            ("query", "query?x=1"),
            ("both", "both/?x=1"),
            ("plus+", "plus+"),
            ("percent%41", "percent%2541"),
        ],
    )
    async def test_the_identity_is_read_from_the_raw_path(
        self, server: RunningServer, server_world: World, api: AdminApi, identity: str, path: str
    ) -> None:
        row = await server_world.charger(id=identity)
        async with charger(server.ws, path) as raw:
            assert (await raw.boot())["status"] == "Accepted"
            assert server.app.state.links.get(row.id) is not None
        [logged] = await api.messages(row.id)
        assert logged["charger_id"] == identity

    @pytest.mark.parametrize(
        "path",
        [
            "/ocpp/nobody",
            "/ocpp/",
            "/ocpp//",
            "/ocpp/?x=1",
            "/ocpp/" + "x" * 49,
            "/ocpp/" + "x" * 5000,
            "/ocpp/%FF%FE",
            "/ocpp/a%00b",
            "/ocpp/a%0Ab",
            "/ocpp/%",
        ],
    )
    async def test_an_identity_that_nobody_has_is_404(self, server: RunningServer, path: str) -> None:
        answer = await knock(server.port, path)
        assert answer.status == 404
        assert answer.body

    async def test_letters_count_in_their_case(self, server: RunningServer, server_world: World) -> None:
        row = await server_world.charger()
        assert (await knock(server.port, f"/ocpp/{row.id.lower()}")).status == 404

    async def test_a_retired_charger_is_404_and_the_refusal_says_why(
        self, server: RunningServer, server_world: World, api: AdminApi
    ) -> None:
        row = await server_world.charger(retired_at=server.app.state.clock.now())
        assert (await knock(server.port, f"/ocpp/{row.id}")).status == 404
        [refusal] = await refused(api, row)
        assert (refusal["reason"], refusal["status"]) == ("Retired", 404)

    async def test_a_line_that_is_far_too_long_is_refused_and_the_server_goes_on(
        self, server: RunningServer, row: Charger
    ) -> None:
        assert (await knock(server.port, "/ocpp/" + "x" * 20_000)).status == 414
        assert (await knock(server.port, f"/ocpp/{row.id}", f"X-Long: {'x' * 20_000}")).status == 431
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")


class TestOtherThanUpgrades:
    async def test_a_plain_get_is_426(self, server: RunningServer, row: Charger) -> None:
        for path in (f"/ocpp/{row.id}", "/ocpp/nobody"):
            answer = await knock(server.port, path, upgrade=False)
            assert answer.status == 426
            assert answer.headers["upgrade"] == "websocket"

    @pytest.mark.parametrize(
        "line",
        ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: short", "Sec-WebSocket-Key: AAAA"],
    )
    async def test_a_broken_handshake_is_refused_and_the_server_goes_on(
        self, server: RunningServer, row: Charger, line: str
    ) -> None:
        answer = await knock(server.port, f"/ocpp/{row.id}", line)
        assert 400 <= answer.status < 500
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")

    async def test_compression_is_not_agreed_to(self, server: RunningServer, row: Charger) -> None:
        answer = await knock(
            server.port,
            f"/ocpp/{row.id}",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        )
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers


class TestSecondPort:
    async def test_it_serves_chargers_and_nothing_else(self, make_server: MakeServer) -> None:
        second = free_port()
        async with make_server(ocpp_port=second) as server:
            world = World(server.database, server.settings, server.app.state.clock)
            row = await world.charger()
            async with charger(f"ws://127.0.0.1:{second}", row.id) as raw:
                assert (await raw.boot())["status"] == "Accepted"
                assert server.app.state.links.get(row.id) is not None
            for path in ("/health", "/api/admin/chargers", "/docs"):
                assert (await knock(second, path, upgrade=False)).status == 404
            assert (await knock(second, "/api/live")).status == 403
            async with charger(server.ws, row.id) as raw:
                await raw.result("Heartbeat")


class TestAddresses:
    PROXIES = (ip_network("10.0.0.0/8"), ip_network("::1/128"))

    @pytest.mark.parametrize(
        ("peer", "forwarded", "address"),
        [
            ("203.0.113.7", [], "203.0.113.7"),
            ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
            ("10.0.0.1", [], "10.0.0.1"),
            ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6", "198.51.100.1, 10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", [" , "], "10.0.0.1"),
            ("10.0.0.1", ["unknown"], "unknown"),
            ("::1", ["2001:db8::1"], "2001:db8::1"),
            ("::ffff:203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
            ("::ffff:10.0.0.1", ["6.6.6.6, ::ffff:198.51.100.1, ::FFFF:10.0.0.9"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6, 198.51.100.1:4711, 10.0.0.9:80"], "198.51.100.1"),
            ("10.0.0.1", ["6.6.6.6, [2001:db8::1]:4711, [::1]"], "2001:db8::1"),
            (None, ["198.51.100.1"], None),
        ],
    )
    def test_only_trusted_proxies_say_who_connects(
        self, peer: str | None, forwarded: list[str], address: str | None
    ) -> None:
        headers = Headers([("X-Forwarded-For", one) for one in forwarded])
        assert client_address(peer, headers, self.PROXIES) == address

    @pytest.mark.parametrize(
        ("direct", "peer", "proto", "secure"),
        [
            (True, "203.0.113.7", None, True),
            (False, "203.0.113.7", "https", False),
            (False, "10.0.0.1", "https", True),
            (False, "10.0.0.1", "WSS", True),
            (False, "::ffff:10.0.0.1", "https", True),
            (False, "10.0.0.1", "http", False),
            (False, "10.0.0.1", None, False),
            (False, None, "https", False),
            (False, "not an address", "https", False),
        ],
    )
    def test_only_trusted_proxies_say_what_is_secure(
        self, direct: bool, peer: str | None, proto: str | None, secure: bool
    ) -> None:
        headers = Headers([("X-Forwarded-Proto", proto)] if proto else [])
        assert is_secure(direct, peer, headers, self.PROXIES) is secure


class TestRateLimit:
    def test_only_refusals_count_and_each_identity_on_its_own(self) -> None:
        limit = RateLimit(2)
        assert all(limit.allows("a", "CP-1") for _ in range(100))
        for _ in range(2):
            limit.refused("a", "CP-1")
        assert not limit.allows("a", "CP-1")
        assert limit.allows("a", "CP-2")
        assert limit.allows("b", "CP-1")

    def test_one_address_is_stopped_when_it_tries_many_identities(self) -> None:
        limit = RateLimit(2)
        for number in range(2 * ADDRESS_FACTOR):
            assert limit.allows("a", f"CP-{number}")
            limit.refused("a", f"CP-{number}")
        assert not limit.allows("a", "CP-new")
        assert limit.allows("b", "CP-new")

    def test_without_a_limit_or_an_address_nobody_is_stopped(self) -> None:
        for limit, address in ((RateLimit(0), "a"), (RateLimit(1), None)):
            for _ in range(1000):
                limit.refused(address, "CP-1")
            assert limit.allows(address, "CP-1")
