"""Going to a provider, coming back from it, and what an app gets for its code."""

from typing import Any

import httpx
from tests.accounts.issuers import Issuer
from tests.accounts.rounds import (
    ADMIN,
    CHALLENGE,
    HOME,
    VERIFIER,
    Rounds,
    actions,
    error_of,
    error_of_none,
    make_provider,
    query_of,
)
from tests.conftest import FrozenClock
from tests.world import SignedIn

from ohmstead.core.db import Database

ELSEWHERE = (
    *("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "x y", ""),
    *("http://localhost:8000.evil.example", "http://localhost:8000@evil.example/", "/a\nb", "/ä"),
    *("http://[", "http://localhost:80000/", "/../x", "/%2e%2e/x"),
)


class TestStart:
    async def test_the_browser_is_sent_to_the_provider_with_all_that_protects_the_round(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        answer = await rounds.client.get(f"{rounds.path}/start")
        asked = query_of(answer)
        assert answer.headers["location"].startswith(f"{issuer.address}/authorize?")
        assert {
            name: asked[name] for name in sorted(asked.keys() - {"state", "nonce", "code_challenge"})
        } == {
            "client_id": "ohmstead",
            "code_challenge_method": "S256",
            "redirect_uri": f"{HOME}{rounds.path}/callback",
            "response_type": "code",
            "scope": "openid email profile",
        }
        assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert asked["nonce"].lower() not in cookie
        assert not issuer.forms

    async def test_nobody_is_sent_anywhere_else_in_the_end(self, rounds: Rounds) -> None:
        for address in ELSEWHERE:
            answer = await rounds.client.get(f"{rounds.path}/start", params={"return_to": address})
            assert answer.status_code == 400, address
            assert answer.json()["fields"] == {"return_to": "lies outside of this installation"}

    async def test_a_provider_that_is_unknown_or_switched_off_is_none(
        self, rounds: Rounds, admin: SignedIn
    ) -> None:
        unknown = await rounds.client.get("/api/auth/oidc/5f1e9d0e-0000-4000-8000-000000000000/start")
        await rounds.client.put(
            f"{ADMIN}/{rounds.provider_id}", json={"enabled": False}, headers=admin.headers
        )
        off = await rounds.client.get(f"{rounds.path}/start")
        assert (unknown.status_code, off.status_code) == (404, 404)
        assert (await rounds.client.get("/api/auth/providers")).json() == []

    async def test_to_link_needs_a_challenge(self, rounds: Rounds) -> None:
        assert (await rounds.client.get(f"{rounds.path}/start?link=true")).status_code == 400

    async def test_a_provider_that_is_away_is_told(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.status = 500
        clock.advance(25 * 3600)
        answer = await rounds.client.get(f"{rounds.path}/start")
        assert (answer.status_code, answer.json()["error"]) == (503, "ProviderUnavailable")


class TestComingBack:
    async def test_a_round_comes_back_once(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        cookies = httpx.Cookies(rounds.client.cookies)
        assert error_of_none(await rounds.back(asked))
        rounds.client.cookies = cookies
        again = await rounds.back(asked)
        assert (again.status_code, again.json()["error"]) == (400, "SignInExpired")

    async def test_in_another_browser_it_is_not_known(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        rounds.client.cookies.clear()
        assert (await rounds.back(asked)).status_code == 400

    async def test_the_state_of_one_round_does_not_fit_the_cookie_of_another(self, rounds: Rounds) -> None:
        first, second = await rounds.start(), await rounds.start()
        forged = first["state"][:16] + second["state"][16:]
        assert (await rounds.back({"state": forged})).status_code == 400

    async def test_a_made_up_state_is_refused(self, rounds: Rounds) -> None:
        await rounds.start()
        for state in ("", "x", "x" * 43, "é" * 43, "a\x00b", "x" * 101):
            assert (await rounds.back({"state": state})).status_code == 400, state

    async def test_a_cookie_that_was_touched_is_worth_nothing(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        for cookie in rounds.client.cookies.jar:
            cookie.value = str(cookie.value)[:-3] + "AAA"
        assert (await rounds.back(asked)).status_code == 400

    async def test_after_ten_minutes_it_is_too_late(self, rounds: Rounds, clock: FrozenClock) -> None:
        asked = await rounds.start()
        clock.advance(601)
        assert (await rounds.back(asked)).status_code == 400

    async def test_a_round_of_one_provider_does_not_end_at_another(
        self, rounds: Rounds, admin: SignedIn, issuer: Issuer
    ) -> None:
        asked = await rounds.start()
        other = await make_provider(rounds.client, admin, issuer, name="Other")
        rounds.provider_id = other["id"]
        assert (await rounds.back(asked)).status_code == 400

    async def test_whoever_did_not_agree_is_told_so(self, rounds: Rounds) -> None:
        asked = await rounds.start()
        assert error_of(await rounds.back(asked, code=None, error="access_denied")) == "AccessDenied"

    async def test_without_a_code_or_from_another_issuer_nobody_is_let_in(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        wrong: list[dict[str, Any]] = [
            {"code": None},
            {"error": "server_error"},
            {"iss": "https://other.example"},
        ]
        for query in wrong:
            asked = await rounds.start()
            assert error_of(await rounds.back(asked, **query)) == "SignInRefused"
        assert not issuer.forms

    async def test_an_issuer_that_names_itself_always_does(
        self, rounds: Rounds, issuer: Issuer, clock: FrozenClock
    ) -> None:
        issuer.configuration["authorization_response_iss_parameter_supported"] = True
        clock.advance(3601)
        assert error_of(await rounds.go()) == "SignInRefused"
        asked = await rounds.start()
        assert error_of_none(await rounds.back(asked, iss=issuer.address))

    async def test_an_exchange_that_fails_is_told_without_its_reason(
        self, rounds: Rounds, issuer: Issuer
    ) -> None:
        asked = await rounds.start()
        issuer.status = 400
        answer = await rounds.back(asked)
        assert error_of(answer) == "ProviderUnavailable"
        assert issuer.address not in answer.headers["location"]


class TestApps:
    async def exchange(self, rounds: Rounds, code: str, verifier: str = VERIFIER) -> httpx.Response:
        return await rounds.client.post("/api/auth/oidc/token", json={"code": code, "verifier": verifier})

    async def test_an_app_gets_a_code_and_by_it_its_tokens_once(self, rounds: Rounds, db: Database) -> None:
        code = await rounds.code()
        answer = await self.exchange(rounds, code)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["email"], answer.json()["role"]) == ("maya@people.example", "EvOwner")
        assert answer.json()["refreshToken"].startswith("ohr_")
        assert (await actions(db))[-1] == "user.signed_in"
        again = await self.exchange(rounds, code)
        assert (again.status_code, again.json()["error"]) == (401, "WrongCode")

    async def test_who_only_saw_the_code_gets_nothing_and_spoils_nothing(self, rounds: Rounds) -> None:
        code = await rounds.code()
        assert (await self.exchange(rounds, code, "w" * 43)).status_code == 401
        assert (await self.exchange(rounds, code)).status_code == 200

    async def test_after_two_minutes_it_is_too_late(self, rounds: Rounds, clock: FrozenClock) -> None:
        code = await rounds.code()
        clock.advance(121)
        assert (await self.exchange(rounds, code)).status_code == 401

    async def test_a_code_to_link_signs_nobody_in(self, rounds: Rounds) -> None:
        assert (await self.exchange(rounds, await rounds.code(link=True))).status_code == 401

    async def test_garbage_is_refused(self, client: httpx.AsyncClient) -> None:
        bodies: list[Any] = [
            *({}, [], {"code": "x"}, {"code": "x", "verifier": "short"}, {"code": 1, "verifier": VERIFIER}),
            {"code": "x", "verifier": VERIFIER, "more": 1},
        ]
        for body in bodies:
            assert (await client.post("/api/auth/oidc/token", json=body)).status_code == 400, body

    async def test_a_challenge_that_is_none_is_refused(self, rounds: Rounds) -> None:
        answer = await rounds.client.get(f"{rounds.path}/start", params={"challenge": CHALLENGE[:-1]})
        assert answer.status_code == 400
