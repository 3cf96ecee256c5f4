"""Rate limits: how often an account and an address may do something."""

from ipaddress import ip_network

import httpx
import pytest
from fastapi import FastAPI
from tests.accounts.signing_in import login, person
from tests.world import World

from ohmstead.accounts import limits
from ohmstead.accounts.limits import RateLimits, TooManyRequests
from ohmstead.accounts.models import Role
from ohmstead.core.config import Settings, SettingsError


class TestRateLimits:
    def test_so_many_at_once_and_then_one_each_part_of_the_time(self) -> None:
        counted = RateLimits()
        for _ in range(6):
            counted.take("s", "me", 6, 60, 1000.0)
        with pytest.raises(TooManyRequests) as refused:
            counted.take("s", "me", 6, 60, 1000.0)
        assert refused.value.retry_after == 10
        counted.take("s", "me", 6, 60, 1010.0)
        with pytest.raises(TooManyRequests):
            counted.take("s", "me", 6, 60, 1019.0)

    def test_what_is_refused_does_not_make_the_wait_longer(self) -> None:
        counted = RateLimits()
        counted.take("s", "me", 1, 60, 0.0)
        for second in range(1, 60):
            with pytest.raises(TooManyRequests) as refused:
                counted.take("s", "me", 1, 60, float(second))
            assert refused.value.retry_after == 60 - second
        counted.take("s", "me", 1, 60, 60.0)

    def test_others_and_other_subjects_are_not_held_up_and_zero_is_no_limit(self) -> None:
        counted = RateLimits()
        counted.take("s", "me", 1, 60, 0.0)
        counted.take("s", "you", 1, 60, 0.0)
        counted.take("t", "me", 1, 60, 0.0)
        for _ in range(100):
            counted.take("u", "me", 0, 60, 0.0)

    def test_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "REMEMBERED_AT_MOST", 2)
        counted = RateLimits()
        for name in ("a", "b", "c"):
            counted.take("s", name, 1, 60, 0.0)
        with pytest.raises(TooManyRequests):
            counted.take("s", "c", 1, 60, 0.0)
        counted.take("s", "a", 1, 60, 0.0)


def limit(app: FastAPI, **settings: object) -> None:
    app.state.settings = app.state.settings.model_copy(update=settings)


class TestOverHttp:
    async def test_an_address_that_signs_in_too_often_has_to_wait_and_another_has_not(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        limit(app, rate_limit_sign_in=2)
        who = await person(world)
        answers = [await login(client, who) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["error"] == "TooManyRequests"
        assert 0 < int(answers[2].headers["retry-after"]) <= 30
        elsewhere = httpx.ASGITransport(app=app, client=("198.51.100.7", 1234))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://test") as other:
            assert (await login(other, who)).status_code == 200

    async def test_an_exempt_network_is_freed(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        limit(app, rate_limit_sign_in=1, rate_limit_exempt=(ip_network("127.0.0.0/8"),))
        who = await person(world)
        assert [(await login(client, who)).status_code for _ in range(3)] == [200] * 3

    async def test_commands_and_reservations_are_counted_by_account(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        limit(app, rate_limit_command=1, rate_limit_booking=1)
        one, other = await world.user(Role.SYSTEM_ADMIN), await world.user(Role.SYSTEM_ADMIN)
        charger = await world.charger()
        for path, body in (("reset", {"type": "Soft"}), ("reserve", {"connector_id": 1, "id_tag": "TAG"})):
            url = f"/api/admin/chargers/{charger.id}/{path}"
            statuses = [
                (await client.post(url, json=body, headers=who.headers)).status_code
                for who in (one, one, other)
            ]
            assert statuses[1] == 429, path
            assert 429 not in {statuses[0], statuses[2]}, path

    async def test_asking_for_links_is_counted(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        limit(app, rate_limit_registration=1)
        body = {"email": "somebody@volt.example"}
        answers = [await client.post("/api/auth/password-reset", json=body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 429]


class TestSettings:
    def test_roles_are_read_with_commas_and_a_name_that_is_none_is_told(self) -> None:
        named = Settings.load(environment="test", second_factor_roles="SystemAdmin, Backoffice")
        assert named.second_factor_roles == ("SystemAdmin", "Backoffice")
        with pytest.raises(SettingsError, match="'Boss' is no role"):
            Settings.load(environment="test", second_factor_roles="Boss")

    def test_the_secret_before_is_live_beside_the_present_one(self) -> None:
        both = Settings.load(environment="test", secret_key="new", secret_key_previous="old")
        assert both.signing_keys == ("new", "old")
        assert Settings.load(environment="test", secret_key="new").signing_keys == ("new",)
