"""What is kept of handshakes that nobody could serve: wrong paths, broken requests, hostile ones."""

import asyncio
import time
from typing import Any

import pytest
from tests.chargers import charger, until
from tests.gateway.admin import AdminApi, admin_client
from tests.gateway.knocking import knock
from tests.running import RunningServer
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.gateway.paths import guessed_identity
from ohmstead.stations.models import Charger

OCPP = "Sec-WebSocket-Protocol: ocpp1.6"


async def kept(api: AdminApi, **wanted: Any) -> dict[str, Any]:
    """Wait until the newest refusal is of this kind, and return it."""

    async def newest() -> dict[str, Any] | None:
        found = await api.refusals()
        fits = found and all(found[0][name] == value for name, value in wanted.items())
        return found[0] if fits else None

    return dict(await until(newest))


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "identity"),
        [
            ("/ocpp", ""),
            ("/ocpp/", ""),
            ("/ocpp//", ""),
            ("/OCPP", ""),
            ("/ocpp?x=1", ""),
            ("/OCPP/{id}", "{id}"),
            ("/Ocpp/{id}/", "{id}"),
            ("//ocpp/{id}", "{id}"),
            ("/ocpp/ocpp", "ocpp"),
        ],
    )
    async def test_a_mistyped_address_is_404_and_the_refusal_says_it(
        self, server: RunningServer, row: Charger, api: AdminApi, path: str, identity: str
    ) -> None:
        path, identity = path.format(id=row.id), identity.format(id=row.id)
        answer = await knock(server.port, path, OCPP)
        assert answer.status == 404
        refusal = await kept(api, status=404, charger_id=identity, detail=answer.body.strip())
        if identity != "ocpp":
            assert refusal["reason"] == "WrongPath"
            assert path.partition("?")[0] in refusal["detail"]
            assert "/ocpp/ and the charger's identity" in refusal["detail"]

    @pytest.mark.parametrize(
        "path", ["/{id}", "/", "/steve/websocket/CentralSystemService/{id}", "/api/{id}"]
    )
    async def test_so_is_any_other_path_of_who_offers_to_speak_ocpp(
        self, server: RunningServer, row: Charger, api: AdminApi, path: str
    ) -> None:
        path = path.format(id=row.id)
        answer = await knock(server.port, path, OCPP)
        assert answer.status == 404
        assert path in answer.body
        await kept(api, charger_id=row.id if row.id in path else "", detail=answer.body.strip())

    async def test_who_does_not_speak_ocpp_is_refused_as_before(self, server: RunningServer) -> None:
        assert (await knock(server.port, "/elsewhere")).status == 403
        assert (await knock(server.port, "/ocppx/CP-1")).status == 403

    async def test_a_secret_in_the_path_is_masked(self, server: RunningServer, api: AdminApi) -> None:
        assert (await knock(server.port, "/x/ws://u:hunter2@h/ocpp/CP-9", OCPP)).status == 404
        refusal = await kept(api, reason="WrongPath", charger_id="CP-9")
        assert "hunter2" not in str(refusal)

    @pytest.mark.parametrize(
        "path", [b"/ocpp/\xff\xfe", b"/ocpp/S\xc3\xa4ule", b"/\xff", b"/ocpp/\xed\xa0\x80"]
    )
    async def test_bytes_that_do_not_belong_into_a_path_are_refused(
        self, server: RunningServer, row: Charger, path: bytes
    ) -> None:
        assert 400 <= (await knock(server.port, path, OCPP)).status < 500
        async with charger(server.ws, row.id) as raw:
            await raw.result("Heartbeat")

    @pytest.mark.parametrize(
        ("path", "identity"),
        [
            ("/ocpp/CP-1", "CP-1"),
            ("/ocpp/a/b%20c", "a/b c"),
            ("/OCPP/CP-1?x", "CP-1"),
            ("/ocpp", ""),
            ("/CP-1", "CP-1"),
            ("/", ""),
            ("/ocpp/\udcff", "?"),
        ],
    )
    def test_who_knocks_is_guessed_from_the_path(self, path: str, identity: str) -> None:
        assert guessed_identity(path) == identity


class TestSubprotocols:
    @pytest.mark.parametrize("value", ["", " ", ",", " , ,"])
    async def test_an_empty_list_of_subprotocols_is_as_good_as_none(
        self, server: RunningServer, row: Charger, value: str
    ) -> None:
        answer = await knock(server.port, f"/ocpp/{row.id}", f"Sec-WebSocket-Protocol:{value}")
        assert answer.status == 101
        assert "sec-websocket-protocol" not in answer.headers

    @pytest.mark.parametrize(
        ("lines", "chosen"),
        [
            (("Sec-WebSocket-Protocol: ocpp1.6,",), "ocpp1.6"),
            (("Sec-WebSocket-Protocol: ", OCPP), "ocpp1.6"),
            (("Sec-WebSocket-Protocol: ocpp 2.0, ocpp1.6",), "ocpp1.6"),
            (("Sec-WebSocket-Protocol: ocpp 1.6",), None),
        ],
    )
    async def test_of_a_list_with_faults_that_is_taken_which_can_be_read(
        self, server: RunningServer, row: Charger, lines: tuple[str, ...], chosen: str | None
    ) -> None:
        answer = await knock(server.port, f"/ocpp/{row.id}", *lines)
        assert (answer.status, answer.headers.get("sec-websocket-protocol")) == (101, chosen)


class TestBrokenRequests:
    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("Sec-WebSocket-Version: 8", "Sec-WebSocket-Version"),
            ("Sec-WebSocket-Key: short", "Sec-WebSocket-Key"),
        ],
    )
    async def test_a_handshake_that_breaks_the_standard_is_kept(
        self, server: RunningServer, row: Charger, api: AdminApi, line: str, said: str
    ) -> None:
        answer = await knock(server.port, f"/ocpp/{row.id}", line)
        assert answer.status == 400
        refusal = await kept(api, status=400, charger_id=row.id)
        assert refusal["reason"] == "BadHandshake"
        assert refusal["address"] == "127.0.0.1"
        assert said in refusal["detail"]

    async def test_without_an_identity_nothing_is_kept(self, server: RunningServer, api: AdminApi) -> None:
        before = await api.refusals()
        assert (await knock(server.port, "/ocpp/", "Sec-WebSocket-Version: 8")).status == 400
        assert (await knock(server.port, "/ocpp/", upgrade=False)).status == 426
        assert (await knock(server.port, "/ocpp/later-than-these")).status == 404
        await kept(api, charger_id="later-than-these")
        assert len(await api.refusals()) == len(before) + 1

    async def test_a_plain_request_which_a_proxy_may_have_made_of_an_upgrade_is_kept(
        self, server: RunningServer, row: Charger, api: AdminApi
    ) -> None:
        assert (await knock(server.port, f"/ocpp/{row.id}/", upgrade=False)).status == 426
        refusal = await kept(api, status=426, charger_id=row.id)
        assert (refusal["reason"], refusal["address"]) == ("NoUpgrade", "127.0.0.1")
        assert "Upgrade" in refusal["detail"]

    async def test_the_business_of_the_charger_sees_them(
        self, server: RunningServer, server_world: World
    ) -> None:
        business = await server_world.backoffice()
        row = await server_world.charger(await server_world.station(business))
        owner, other = (
            await server_world.user(Role.BACKOFFICE, business),
            await server_world.user(Role.BACKOFFICE),
        )
        await knock(server.port, f"/ocpp/{row.id}", "Sec-WebSocket-Version: 8")
        await knock(server.port, f"/OCPP/{row.id}")
        async with (
            admin_client(server.http, owner.headers) as theirs,
            admin_client(server.http, other.headers) as others,
        ):

            async def both() -> bool:
                return len(await AdminApi(theirs).refusals()) == 2

            await until(both)
            assert await AdminApi(others).refusals() == []

    async def test_a_fault_of_ours_is_500_and_nobody_waits(
        self, server: RunningServer, row: Charger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(_: str) -> None:
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(server.app.state.gateway.door, "lookup", fails)
        assert (await knock(server.port, f"/ocpp/{row.id}")).status == 500


class TestHostile:
    @pytest.mark.parametrize("piece", ['{"key":', '[{"key":', "://a:", '"', "token"])
    async def test_long_paths_without_credentials_do_not_hold_up_the_server(
        self, server: RunningServer, row: Charger, piece: str
    ) -> None:
        path = "/ocpp/" + (piece * 8000)[:8000].replace('"', "%22")[:8000]
        async with charger(server.ws, row.id) as raw:
            began = time.monotonic()
            answers = await asyncio.gather(*(knock(server.port, path) for _ in range(20)))
            await raw.result("Heartbeat")
            assert time.monotonic() - began < 6
        assert {answer.status for answer in answers} == {404}
