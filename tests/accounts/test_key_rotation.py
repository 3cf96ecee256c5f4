"""Two live secret keys: what was made with the old one works after the change, while the old one is set."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from procrastinate import JobContext
from procrastinate.jobs import Job
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.accounts.people import link
from tests.accounts.signing_in import bearer, login, person
from tests.accounts.test_email_change import ask as ask_for_email
from tests.accounts.test_email_change import use as use_email_link
from tests.accounts.test_second_factor import challenge, enrol, second
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts import oidc_handover, oidc_rounds, oidc_sign_in
from ohmstead.accounts.access_tokens import issue
from ohmstead.accounts.audit import record
from ohmstead.accounts.drivers import send_verification
from ohmstead.accounts.key_rotation import seal_anew
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.oidc_identities import Confirmed, Source
from ohmstead.accounts.oidc_issuers import IssuerFault
from ohmstead.accounts.oidc_models import IdentityProvider
from ohmstead.accounts.oidc_providers import create_provider, secret_of
from ohmstead.accounts.oidc_rounds import RoundOver
from ohmstead.accounts.oidc_schemas import ProviderIn
from ohmstead.accounts.password_change import send_link
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.person_keys import PersonKeys
from ohmstead.core import file_links
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import NotFound, Unauthenticated
from ohmstead.core.jobs import Jobs
from ohmstead.stations.credentials import matching

NEW = "the secret that comes after it, as long"
LATER = timedelta(minutes=1)
PROVIDER = {"name": "Acme", "issuer": "https://sso.example", "client_id": "x"}
Use = Callable[[], Awaitable[bool]]


@dataclass
class Installation:
    """A running installation whose secret key can be changed, as by a restart."""

    app: FastAPI
    client: httpx.AsyncClient
    world: World
    clock: FrozenClock

    @property
    def settings(self) -> Settings:
        settings: Settings = self.app.state.settings
        return settings

    @property
    def db(self) -> Database:
        return self.world.database

    def restart_with(self, key: SecretStr, previous: SecretStr | None) -> None:
        settings = self.settings.model_copy(update={"secret_key": key, "secret_key_previous": previous})
        self.app.state.settings = settings
        self.db.session_info["person_keys"] = PersonKeys(*settings.signing_keys)


@pytest.fixture
def here(app: FastAPI, client: httpx.AsyncClient, world: World, clock: FrozenClock) -> Installation:
    return Installation(app, client, world, clock)


async def access_token(here: Installation) -> Use:
    answer = await login(here.client, await person(here.world))

    async def use() -> bool:
        return (await here.client.get("/api/auth/me", headers=bearer(answer))).is_success

    return use


async def refresh_token(here: Installation) -> Use:
    answer = await login(here.client, await person(here.world), refreshToken="body")

    async def use() -> bool:
        body = {"refreshToken": answer.json()["refreshToken"]}
        return (await here.client.post("/api/auth/refresh", json=body)).is_success

    return use


async def api_key(here: Installation) -> Use:
    admin = await here.world.admin()
    body = {"name": "meter", "permissions": ["stations:read"]}
    made = await here.client.post("/api/admin/api-keys", json=body, headers=admin.headers)
    assert made.status_code == 201, made.text

    async def use() -> bool:
        headers = {"X-API-Key": made.json()["key"]}
        return (await here.client.get("/api/admin/stations", headers=headers)).is_success

    return use


async def verification_link(here: Installation) -> Use:
    who = await person(here.world)
    async with here.db.session() as session:
        user = await session.get_one(User, who.id)
        await send_verification(session, here.settings, user, here.clock.now())
    token = await link(here.db, who.email, "/verify-email/")

    async def use() -> bool:
        return (await here.client.post("/api/auth/verify-email", json={"token": token})).is_success

    return use


async def password_link(here: Installation) -> Use:
    who = await person(here.world)
    async with here.db.session() as session:
        await send_link(session, here.settings, who.id, here.clock.now())
    token = await link(here.db, who.email, "/reset-password/")

    async def use() -> bool:
        body = {"password": "copper lantern 77"}
        return (await here.client.post(f"/api/auth/password-reset/{token}", json=body)).is_success

    return use


async def email_link(here: Installation) -> Use:
    who = await person(here.world)
    assert (await ask_for_email(here.client, who.headers)).status_code == 202
    token = await link(here.db, "ravi@new.example", "/change-email/")

    async def use() -> bool:
        return (await use_email_link(here.client, token)).is_success

    return use


async def with_app(here: Installation) -> tuple[SignedIn, Any, list[str]]:
    who = await person(here.world)
    return who, *(await enrol(here.client, here.clock, who))


async def authenticator_app(here: Installation) -> Use:
    who, totp, _ = await with_app(here)

    async def use() -> bool:
        begun = await challenge(here.client, who)
        return (await second(here.client, begun, totp.at(here.clock.now()))).is_success

    return use


async def recovery_code(here: Installation) -> Use:
    who, _, codes = await with_app(here)

    async def use() -> bool:
        return (await second(here.client, await challenge(here.client, who), codes[0])).is_success

    return use


async def sign_in_that_waits_for_its_code(here: Installation) -> Use:
    who, totp, _ = await with_app(here)
    begun = await challenge(here.client, who)

    async def use() -> bool:
        return (await second(here.client, begun, totp.at(here.clock.now()))).is_success

    return use


async def what_the_trail_tells_of_a_person(here: Installation) -> Use:
    admin, who = await here.world.admin(), await here.world.user(Role.EV_OWNER)
    async with here.db.session() as session:
        admin_row = await session.get_one(User, admin.id)
        await record(
            session, "driver.updated", entity="user", entity_id=who.id, person_id=who.id,
            personal={"name": "Ravi"},
        )  # fmt: skip

    async def use() -> bool:
        async with here.db.session() as session:
            found = await here.db.session_info["person_keys"].known(session, {who.id})
        if who.id not in found:
            return False
        url = f"/api/admin/audit?entity_id={who.id}"
        token = issue(here.settings, admin_row, here.clock.now())
        shown = await here.client.get(url, headers=bearer(token))
        return [one["personal"] for one in shown.json()["items"]] == [{"name": "Ravi"}]

    return use


async def client_secret_of_a_provider(here: Installation) -> Use:
    wanted = ProviderIn.model_validate(PROVIDER | {"client_secret": "told-once"})
    async with here.db.session() as session:
        provider_id = (await create_provider(session, here.settings, wanted)).id

    async def use() -> bool:
        async with here.db.session() as session:
            provider = await session.get_one(IdentityProvider, provider_id)
        try:
            return secret_of(here.settings, provider) == "told-once"
        except IssuerFault:
            return False

    return use


async def round_at_a_provider(here: Installation) -> Use:
    now = here.clock.now()
    one = oidc_rounds.begin(here.settings, uuid4(), return_to="/", challenge=None, links=False, now=now)
    cookie = oidc_rounds.cookie_of(one)

    async def use() -> bool:
        try:
            back = oidc_rounds.read_cookie(here.settings, cookie, one.state, one.provider_id, now)
        except RoundOver:
            return False
        return back.verifier == one.verifier

    return use


async def what_a_provider_confirmed_for_an_app(here: Installation) -> Use:
    wanted = ProviderIn.model_validate(PROVIDER)
    verifier, now = "v" * 43, here.clock.now()
    async with here.db.session() as session:
        provider = await create_provider(session, here.settings, wanted)
        who = Confirmed(Source.of(provider), "maya-1", "maya@people.example", email_verified=True, claims={})
        code = await oidc_handover.hand_over(
            session,
            here.settings,
            who,
            challenge=oidc_rounds.challenge_of(verifier),
            user_id=None,
            now=now,
        )

    async def use() -> bool:
        async with here.db.session() as session:
            try:
                kept = await oidc_handover.fetch(session, here.settings, code, verifier, links=True, now=now)
            except Unauthenticated:
                return False
        return kept.subject == "maya-1"

    return use


async def link_to_a_file(here: Installation) -> Use:
    subject, now = uuid4(), here.clock.now()
    tokens = {
        purpose: file_links.sign(here.settings, purpose, subject, now + LATER)
        for purpose in file_links.Purpose
    }

    async def use() -> bool:
        try:
            found = {
                file_links.subject_of(here.settings, purpose, token, now) for purpose, token in tokens.items()
            }
        except NotFound:
            return False
        return found == {subject}

    return use


async def password_of_a_charger(here: Installation) -> Use:
    charger = await here.world.charger(password_hash=secret_hash("a password", here.settings.signing_key))

    async def use() -> bool:
        kept = charger.password_hash
        return matching(b"a password", [kept], *here.settings.signing_keys) == kept

    return use


MADE = (
    access_token,
    refresh_token,
    api_key,
    verification_link,
    password_link,
    email_link,
    authenticator_app,
    recovery_code,
    sign_in_that_waits_for_its_code,
    what_the_trail_tells_of_a_person,
    client_secret_of_a_provider,
    round_at_a_provider,
    what_a_provider_confirmed_for_an_app,
    link_to_a_file,
    password_of_a_charger,
)
each = pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
SEALED = (authenticator_app, what_the_trail_tells_of_a_person, client_secret_of_a_provider)
"""What is encrypted can be encrypted anew by the server itself."""


@each
async def test_what_was_made_with_the_old_key_works_while_that_is_set(here: Installation, make: Any) -> None:
    use = await make(here)
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    assert await use()


@each
async def test_it_is_worth_nothing_when_the_old_key_was_dropped_at_once(
    here: Installation, make: Any
) -> None:
    use = await make(here)
    here.restart_with(SecretStr(NEW), None)
    assert not await use()


@each
async def test_what_is_made_after_the_change_needs_the_new_key_alone(here: Installation, make: Any) -> None:
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    use = await make(here)
    here.restart_with(SecretStr(NEW), None)
    assert await use()


async def test_a_return_from_a_provider_is_used_up_across_the_change_too(here: Installation) -> None:
    now = here.clock.now()
    one = oidc_rounds.begin(here.settings, uuid4(), return_to="/", challenge=None, links=False, now=now)
    cookie = oidc_rounds.cookie_of(one)
    async with here.db.session() as session:
        await oidc_sign_in.use_up(session, one, now)
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    again = oidc_rounds.read_cookie(here.settings, cookie, one.state, one.provider_id, now)
    with pytest.raises(RoundOver):
        async with here.db.session() as session:
            await oidc_sign_in.use_up(session, again, now)


@pytest.mark.parametrize("make", SEALED, ids=lambda make: make.__name__)
async def test_what_was_encrypted_anew_needs_the_old_key_no_more(here: Installation, make: Any) -> None:
    use = await make(here)
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    assert await seal_anew(here.db, here.settings) > 0
    assert await seal_anew(here.db, here.settings) == 0
    here.restart_with(SecretStr(NEW), None)
    assert await use()


async def test_what_neither_key_opens_and_what_has_no_secret_are_left_as_they_are(here: Installation) -> None:
    use = await authenticator_app(here)
    wanted = ProviderIn.model_validate(PROVIDER)
    async with here.db.session() as session:
        await create_provider(session, here.settings, wanted)
    first = here.settings.secret_key
    here.restart_with(SecretStr("one" * 12), SecretStr("two" * 12))
    with capture_logs() as logs:
        assert await seal_anew(here.db, here.settings) == 0
    told = {one["table"]: one["rows"] for one in logs if one["event"] == "secret_key.missing"}
    assert told["accounts_second_factor"] == 1
    assert "accounts_identity_provider" not in told
    assert first is not None
    here.restart_with(first, None)
    assert await seal_anew(here.db, here.settings) == 0
    assert await use()


async def test_more_rows_than_are_looked_at_in_one_go_are_all_encrypted_anew(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ohmstead.accounts.key_rotation.CHUNK", 2)
    keys: PersonKeys = here.db.session_info["person_keys"]
    people = {UUID(int=0), *(uuid4() for _ in range(5))}
    async with here.db.session() as session:
        before = {one: await keys.key_of(session, one) for one in people}
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    assert await seal_anew(here.db, here.settings) == len(people)
    here.restart_with(SecretStr(NEW), None)
    async with here.db.session() as session:
        assert await here.db.session_info["person_keys"].known(session, people) == before


async def test_the_clock_does_it_while_there_is_an_old_key(here: Installation, app: FastAPI) -> None:
    use = await what_the_trail_tells_of_a_person(here)
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    name = "key_rotation:seal_anew"
    job = Job(id=1, queue="default", lock=None, queueing_lock=None, task_name=name, task_kwargs={})
    means = {"database": here.db, "clock": here.clock, "settings": here.settings}
    jobs: Jobs = app.state.jobs
    context = JobContext(
        app=jobs.app, job=job, start_timestamp=0, abort_reason=lambda: None, additional_context=means
    )
    await jobs.app.tasks[name](context, timestamp=0)
    here.restart_with(SecretStr(NEW), None)
    assert await use()


async def test_an_api_key_that_was_used_meanwhile_needs_the_old_key_no_more(here: Installation) -> None:
    use = await api_key(here)
    here.restart_with(SecretStr(NEW), here.settings.secret_key)
    assert await use()
    here.restart_with(SecretStr(NEW), None)
    assert await use()


async def test_who_loses_its_app_by_it_is_told_what_to_do(here: Installation) -> None:
    who, totp, _ = await with_app(here)
    here.restart_with(SecretStr(NEW), None)
    refused = await second(here.client, await challenge(here.client, who), totp.at(here.clock.now()))
    assert (refused.status_code, refused.json()["error"]) == (409, "SecondFactorLost")


async def test_without_the_key_of_a_person_nothing_is_changed_by_it_and_the_answer_says_why(
    here: Installation,
) -> None:
    """Else what is written of it could not be read when the old key is back."""
    who = await person(here.world)
    assert (await login(here.client, who)).is_success
    old = here.settings.secret_key
    here.restart_with(SecretStr(NEW), None)
    refused = await login(here.client, who)
    assert (refused.status_code, refused.json()["error"]) == (503, "SecretKeyMissing")
    here.restart_with(SecretStr(NEW), old)
    assert (await login(here.client, who)).is_success
