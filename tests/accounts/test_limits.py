"""Rate limits: how often an account and an address may do something, whichever process is asked."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from tests.accounts.signing_in import login, person
from tests.chargers import until
from tests.conftest import SECRET
from tests.faults.redis_server import RedisServer
from tests.world import World

from ohmstead.accounts import limits
from ohmstead.accounts.limits import (
    Allowance,
    CallerCount,
    OwnMemory,
    RateLimits,
    Subject,
    TooManyRequests,
)
from ohmstead.accounts.models import Role
from ohmstead.accounts.permissions import PERMISSION_OF, PERMISSIONS
from ohmstead.core import redis as core_redis
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.redis import Redis
from ohmstead.routers import ROUTERS

SECOND = 1_000_000


def may(at_most: int, who: str = "me", what: str = "s", seconds: float = 60) -> Allowance:
    return Allowance(what, who, at_most, seconds)


class TestOwnMemory:
    """Times are microseconds here."""

    def test_so_many_at_once_and_then_one_each_part_of_the_time(self) -> None:
        counted, now = OwnMemory(), 1000 * SECOND
        assert [counted.take([may(6)], now) for _ in range(7)] == [0] * 6 + [10 * SECOND]
        assert counted.take([may(6)], now + 10 * SECOND) == 0
        assert counted.take([may(6)], now + 19 * SECOND) == SECOND

    @pytest.mark.parametrize("at_most", [1, 2, 3, 7, 300, 999_983])
    def test_it_is_so_many_whatever_the_number(self, at_most: int) -> None:
        counted, allowed = OwnMemory(), may(at_most)
        if at_most < 1000:
            assert not any(counted.take([allowed], 0) for _ in range(at_most))
            assert counted.take([allowed], 0) > 0
        assert allowed.each * at_most <= 60 * SECOND < allowed.each * at_most + at_most

    def test_what_is_refused_does_not_make_the_wait_longer(self) -> None:
        counted = OwnMemory()
        waits = [counted.take([may(1)], second * SECOND) for second in range(61)]
        assert waits == [0, *((60 - second) * SECOND for second in range(1, 60)), 0]

    def test_others_and_other_subjects_are_not_held_up(self) -> None:
        counted = OwnMemory()
        for one in (may(1), may(1, "you"), may(1, what="t")):
            assert counted.take([one], 0) == 0

    def test_of_two_that_are_asked_together_neither_counts_if_one_is_refused(self) -> None:
        counted, mine, ours = OwnMemory(), may(1), may(2, "us")
        assert counted.take([mine, ours], 0) == 0
        assert counted.take([mine, ours], 0) == 60 * SECOND
        assert counted.take([may(1, "you"), ours], 0) == 0

    def test_it_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "REMEMBERED_AT_MOST", 2)
        counted = OwnMemory()
        for name in ("a", "b", "c"):
            counted.take([may(1, name)], 0)
        assert counted.take([may(1, "c")], 0) > 0
        assert counted.take([may(1, "a")], 0) == 0


async def taken(counted: RateLimits, times: int, *allowances: Allowance) -> int:
    """How many of so many are let through."""
    through = 0
    for _ in range(times):
        with contextlib.suppress(TooManyRequests):
            await counted.take(*allowances)
            through += 1
    return through


class TestInRedis:
    """Two processes and one Redis."""

    @pytest.fixture
    def server(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        server = RedisServer(tmp_path_factory.mktemp("redis"))
        server.start()
        yield server
        server.kill()

    @pytest.fixture
    async def two(self, server: RedisServer) -> AsyncIterator[list[RateLimits]]:
        values = {"environment": "test", "secret_key": SECRET, "database_url": "postgresql:///x"}
        settings = Settings.load(redis_url=server.url, **values)
        both = [Redis(settings, str(uuid4())) for _ in range(2)]
        for redis in both:
            redis.start()
            assert await redis.ready(10)
        yield [RateLimits(redis) for redis in both]
        for redis in both:
            await redis.stop()

    async def test_what_one_lets_through_counts_for_the_other(self, two: list[RateLimits]) -> None:
        one, other = two
        assert [await taken(one, 2, may(5)), await taken(other, 9, may(5)), await taken(one, 1, may(5))] == [
            2,
            3,
            0,
        ]
        with pytest.raises(TooManyRequests) as refused:
            await one.take(may(5))
        assert 1 <= (refused.value.retry_after or 0) <= 12
        assert await taken(other, 9, may(5, "you")) == 5

    async def test_a_hundred_at_once_are_as_many_as_are_allowed(self, two: list[RateLimits]) -> None:
        through = await asyncio.gather(*(taken(two[n % 2], 1, may(10, seconds=3600)) for n in range(100)))
        assert sum(through) == 10

    async def test_there_is_one_more_when_its_part_of_the_time_is_over(self, two: list[RateLimits]) -> None:
        allowed = may(2, seconds=2)
        assert await taken(two[0], 3, allowed) == 2

        async def one_more() -> bool:
            return await taken(two[1], 1, allowed) == 1

        await until(one_more)

    async def test_of_two_that_are_asked_together_neither_counts_if_one_is_refused(
        self, two: list[RateLimits]
    ) -> None:
        ours = may(2, "us")
        assert await taken(two[0], 5, may(1), ours) == 1
        assert await taken(two[1], 5, may(9, "you"), ours) == 1

    async def test_it_is_one_question_whatever_is_limited_and_none_where_nothing_is(
        self, two: list[RateLimits], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert two[0].redis is not None
        asked: list[Any] = []
        real = two[0].redis.submit

        def submit(*command: Any) -> Any:
            asked.append(command[0])
            return real(*command)

        monkeypatch.setattr(two[0].redis, "submit", submit)
        await two[0].take(may(0))
        await two[0].take()
        assert asked == []
        await two[0].take(may(9), may(9, "you"), may(0, "we"))
        assert asked == ["EVAL"]

    async def test_what_is_kept_ends_by_itself(self, two: list[RateLimits]) -> None:
        assert two[0].redis is not None
        await two[0].take(may(4, seconds=3600))
        keys = await two[0].redis.ask("KEYS", "*")
        assert [key.decode() for key in keys] == [two[0].redis.key("limit", "s", "me")]
        assert 899_000 < await two[0].redis.ask("PTTL", keys[0]) <= 900_000

    async def test_while_it_is_away_each_counts_by_itself_and_nobody_waits(
        self, two: list[RateLimits], server: RedisServer
    ) -> None:
        assert await taken(two[0], 9, may(3)) == 3
        server.kill()
        began = time.monotonic()
        assert [await taken(one, 9, may(3)) for one in two] == [3, 3]
        assert time.monotonic() - began < 2
        server.start()

        async def back() -> bool:
            return all(one.redis is not None and one.redis.connected for one in two)

        await until(back)
        assert [await taken(one, 9, may(3)) for one in two] == [3, 0], "it has forgotten, and both ask it"

    async def test_one_that_hangs_is_waited_for_once_and_shortly(
        self, two: list[RateLimits], server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(core_redis, "ANSWER_SECONDS", 60)  # nothing else says that it is away
        monkeypatch.setattr(core_redis, "DEAF_SECONDS", 60)
        server.hang()
        try:
            began = time.monotonic()
            assert await taken(two[0], 100, may(3)) == 3
            assert time.monotonic() - began < 2
        finally:
            server.go_on()

        async def asked_again() -> bool:
            assert two[0].redis is not None
            await taken(two[0], 1, may(1, "other"))
            return bool(await two[0].redis.ask("EXISTS", two[0].redis.key("limit", "s", "other")))

        await until(asked_again)

    async def test_one_that_refuses_to_count_keeps_nobody_out(self, two: list[RateLimits]) -> None:
        assert two[0].redis is not None
        await two[0].redis.ask("LPUSH", two[0].redis.key("limit", "s", "me"), "no number")
        assert await taken(two[0], 9, may(3)) == 3


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

    async def test_invitations_and_requests_for_personal_data_are_counted_by_account(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        limit(app, rate_limit_invitation=1, rate_limit_personal_data=1)
        boss, other = await world.user(Role.BACKOFFICE), await world.user(Role.BACKOFFICE)
        answers = []
        for who in (boss, boss, other):
            body = {"email": f"{uuid4().hex[:8]}@volt.example"}
            answers.append(await client.post("/api/operator", json=body, headers=who.headers))
        assert [answer.status_code for answer in answers] == [201, 429, 201]
        operator = f"/api/admin/users/{answers[0].json()['id']}"
        for email, status in (("x@volt.example", 429), (None, 200)):  # the one before is told of its change
            change = {"name": "Maya", "email": email} if email else {"name": "Maya"}
            answer = await client.put(operator, json=change, headers=boss.headers)
            assert answer.status_code == status, answer.text
        ravi = await world.user(Role.EV_OWNER)
        for status in (202, 429):
            body = {"kind": "Export"}
            answer = await client.post("/api/auth/me/personal-data", json=body, headers=ravi.headers)
            assert answer.status_code == status, answer.text

    async def test_a_list_that_may_ask_the_charger_counts_only_when_it_does(
        self, app: FastAPI, client: httpx.AsyncClient, world: World
    ) -> None:
        limit(app, rate_limit_command=1)
        admin, charger = await world.admin(), await world.charger()
        url = f"/api/admin/chargers/{charger.id}/configuration"
        statuses = []
        for refresh in ("false", "0", "1", "true", "false"):
            answer = await client.get(url, params={"refresh": refresh}, headers=admin.headers)
            statuses.append(answer.status_code)
        assert statuses == [200, 200, 409, 429, 200], "409: it is not connected"

    async def test_asking_for_links_is_counted(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        limit(app, rate_limit_registration=1)
        body = {"email": "somebody@volt.example"}
        answers = [await client.post("/api/auth/password-reset", json=body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 429]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/api/auth/invite/none", {"password": "seven horses over the bridge"}),
            ("/api/auth/password-reset/none", {"password": "seven horses over the bridge"}),
            ("/api/auth/verify-email", {"token": "none"}),
            ("/api/auth/email/confirm", {"token": "none"}),
        ],
    )
    async def test_using_links_counts_with_sign_ins(
        self, app: FastAPI, client: httpx.AsyncClient, path: str, body: dict[str, str]
    ) -> None:
        limit(app, rate_limit_sign_in=1)
        answers = [await client.post(path, json=body) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [404, 429]
        assert (await login(client, "nobody@example.com", "wrong password")).status_code == 429


NOT_SENDING = {
    "GET /c/{charger_id}/{connector}",
    "HEAD /c/{charger_id}/{connector}",
    # what is wanted of chargers is written down; jobs bring it, each charger in its turn
    "POST /api/admin/configuration-templates",
    "PUT /api/admin/configuration-templates/{template_id}",
    "DELETE /api/admin/configuration-templates/{template_id}",
    "POST /api/admin/local-list-rules",
    "PUT /api/admin/local-list-rules/{rule_id}",
    "DELETE /api/admin/local-list-rules/{rule_id}",
    "POST /api/admin/charging-profiles",
    "PUT /api/admin/charging-profiles/{profile_id}",
    "DELETE /api/admin/charging-profiles/{profile_id}",
    "POST /api/admin/id-tags",
    "PUT /api/admin/id-tags/{id_tag}",
    "DELETE /api/admin/id-tags/{id_tag}",
    "POST /api/admin/id-tags.csv",
    # a campaign sends less from here on
    "POST /api/admin/campaigns/{campaign_id}/pause",
    "POST /api/admin/campaigns/{campaign_id}/cancel",
    # connections end, nothing is asked
    "POST /api/admin/chargers",
    "DELETE /api/admin/chargers",
    "DELETE /api/admin/chargers/{charger_id}",
    "PUT /api/admin/stations/{station_id}",
    # no charger is concerned
    "POST /api/admin/stations",
    "DELETE /api/admin/stations/{station_id}",
    "POST /api/admin/stations.csv",
    "PUT /api/admin/stations/{station_id}/photo",
    "DELETE /api/admin/stations/{station_id}/photo",
    "POST /api/admin/firmware",
    "DELETE /api/admin/firmware/{firmware_id}",
    "POST /api/admin/alerts/{alert_id}/clear",
    # what is known is shown
    "GET /api/admin/chargers/{charger_id}",
    "GET /api/admin/chargers/{charger_id}/status-history",
    "GET /api/admin/chargers/{charger_id}/reports",
    "GET /api/admin/chargers/{charger_id}/diagnosis",
    "GET /api/admin/chargers/{charger_id}/configuration/history",
    "GET /api/admin/chargers/{charger_id}/charging-profiles",
    "GET /api/admin/chargers/{charger_id}/firmware-updates",
}
"""Routes with a charger, and those that change something an API key may change, which send nothing to one."""


def concerning_chargers() -> Iterator[tuple[str, APIRoute]]:
    """Every route that names a charger, and every one that changes something and that machines may have."""
    for route in (route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)):
        for method in sorted(route.methods or ()):
            name = f"{method} {route.path}"
            changes = method not in {"GET", "HEAD"} and PERMISSIONS[PERMISSION_OF[name]].api_key
            if changes or "{charger_id}" in route.path:
                yield name, route


class TestWhatSendsToChargers:
    @pytest.mark.parametrize(
        ("name", "route"), [pytest.param(*one, id=one[0]) for one in concerning_chargers()]
    )
    def test_it_is_counted_or_named_as_not_sending(self, name: str, route: APIRoute) -> None:
        counts = [one.call for one in route.dependant.dependencies if isinstance(one.call, CallerCount)]
        counted = any(one.subject in {Subject.COMMAND, Subject.BOOKING} for one in counts)
        assert counted != (name in NOT_SENDING), (
            f"{name}: limited_caller(Subject.COMMAND) if it sends something to chargers, else name it here"
        )

    def test_nothing_is_named_that_is_not_there(self) -> None:
        assert {name for name, _ in concerning_chargers()} >= NOT_SENDING


class TestSeveralServers:
    async def test_who_goes_from_one_to_the_other_is_counted_once(
        self, make_server: Any, redis_url: str, database_factory: Any
    ) -> None:
        shared = {"database_url": database_factory("limits"), "redis_url": redis_url, "rate_limit_sign_in": 3}
        async with make_server(**shared) as one, make_server(**shared) as two:
            answers = []
            for server in (one, two, one, two, one):
                async with httpx.AsyncClient(base_url=server.http) as http:
                    answers.append(await login(http, "nobody@example.com", "wrong password"))
        assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 2
        assert 0 < int(answers[-1].headers["retry-after"]) <= 20


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
