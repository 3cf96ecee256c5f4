"""The pages behind the links in mails: what they show, what their buttons do, and what they never do."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from html.parser import HTMLParser
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update
from tests.accounts.people import link, mails, trail
from tests.accounts.signing_in import login, person, status_of_me
from tests.conftest import FrozenClock
from tests.running import RunningServer
from tests.world import SignedIn, World

from ohmstead.accounts import passwords
from ohmstead.accounts.drivers import send_verification
from ohmstead.accounts.email_change import ask_for_change
from ohmstead.accounts.invites import invite
from ohmstead.accounts.models import Role, User
from ohmstead.accounts.password_change import send_link
from ohmstead.accounts.passwords import HashingThread
from ohmstead.core.config import Settings
from ohmstead.core.db import Database

NEW = "copper lantern 77"
UNKNOWN = "a" * 43
FORM = "application/x-www-form-urlencoded"
VOID_TAGS = {"meta", "link", "input", "rect", "path"}
PLAIN = ("/", "/sign-in", "/reset-password", "/verify-email")


class Page(HTMLParser):
    """What a browser would see of an answer."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.answer = answer
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(answer.text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID_TAGS:
            self._open.append(f"[{found['role']}]" if "role" in found else tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for one in self._open:
            self.texts[one] = self.texts.get(one, "") + data

    def text(self, where: str) -> str:
        """The words within a tag, or within a `[role]`."""
        return " ".join(self.texts.get(where, "").split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def input(self, name: str) -> dict[str, str | None]:
        [found] = [one for one in self.all("input") if one.get("name") == name]
        return found

    @property
    def links(self) -> set[str | None]:
        return {one["href"] for one in self.all("a")}


async def look(client: httpx.AsyncClient, path: str) -> tuple[int, Page]:
    answer = await client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.status_code, Page(answer)


async def press(client: httpx.AsyncClient, path: str, **fields: str) -> tuple[int, Page]:
    """Send the form of a page as a browser does."""
    answer = await client.post(path, data=fields, headers=None if fields else {"Content-Type": FORM})
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.status_code, Page(answer)


async def choose(
    client: httpx.AsyncClient, path: str, password: str = NEW, again: str | None = None
) -> tuple[int, Page]:
    return await press(client, path, password=password, again=password if again is None else again)


async def user_of(db: Database, who: SignedIn) -> User:
    async with db.session() as session:
        return await session.get_one(User, who.id, populate_existing=True)


async def invited(world: World, who: SignedIn) -> str:
    async with world.database.session() as session:
        await invite(session, world.settings, await session.get_one(User, who.id), world.clock.now())
    return "/invite/" + await link(world.database, who.email, "/invite/")


async def forgotten(world: World, who: SignedIn) -> str:
    async with world.database.session() as session:
        await send_link(session, world.settings, who.id, world.clock.now())
    return "/reset-password/" + await link(world.database, who.email, "/reset-password/")


async def unverified(world: World, who: SignedIn) -> str:
    async with world.database.session() as session:
        user = await session.get_one(User, who.id)
        await send_verification(session, world.settings, user, world.clock.now())
    return "/verify-email/" + await link(world.database, who.email, "/verify-email/")


async def moving(world: World, who: SignedIn) -> str:
    email = f"new-{who.email}"
    async with world.database.session() as session:
        user = await session.get_one(User, who.id)
        await ask_for_change(session, world.settings, user, email, session_id=None, now=world.clock.now())
    return "/change-email/" + await link(world.database, email, "/change-email/")


Mailed = Callable[[World, SignedIn], Awaitable[str]]
KINDS: dict[Mailed, tuple[int, str]] = {
    invited: (7 * 86400, "user.invite_accepted"),
    forgotten: (3600, "user.password_changed"),
    unverified: (3 * 86400, "user.email_verified"),
    moving: (86400, "user.email_changed"),
}
"""For each kind of link: for how many seconds it is good, and what the trail says of its use."""
every_kind = pytest.mark.parametrize("mailed", KINDS, ids=lambda one: one.__name__)
of_passwords = pytest.mark.parametrize("mailed", [invited, forgotten], ids=lambda one: one.__name__)


async def somebody(world: World, mailed: Mailed) -> SignedIn:
    """Somebody who would be sent such a link: who is invited has no password."""
    if mailed is invited:
        return await world.user(Role.OPERATOR)
    return await person(world, Role.OPERATOR)


async def pressed(client: httpx.AsyncClient, mailed: Mailed, path: str) -> tuple[int, Page]:
    return await (choose(client, path) if mailed in (invited, forgotten) else press(client, path))


class TestEveryPage:
    async def pages(self, client: httpx.AsyncClient, world: World) -> list[Page]:
        paths = [*PLAIN, f"/invite/{UNKNOWN}"]
        for mailed in KINDS:
            paths.append(await mailed(world, await somebody(world, mailed)))
        found = [(await look(client, path))[1] for path in paths]
        refused = (await choose(client, paths[5], "1234567"))[1]
        asked = (await press(client, "/reset-password", email="asha@volt.example"))[1]
        done = (await press(client, paths[7]))[1]
        return [*found, refused, asked, done]

    async def test_it_has_no_script_and_nothing_from_elsewhere(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        for page in await self.pages(client, world):
            names = {name for name, _ in page.tags}
            assert not names & {"script", "iframe", "object", "embed", "base", "img"}
            for tag, attrs in page.tags:
                assert "style" not in attrs
                assert not [name for name in attrs if name.startswith("on")], (tag, attrs)
                for name in ("href", "src", "action"):
                    assert re.match(r"/(?!/)|$", attrs.get(name) or ""), (tag, attrs)

    async def test_its_policy_allows_its_own_style_and_nothing_else(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        for page in await self.pages(client, world):
            digest = base64.b64encode(hashlib.sha256(page.texts["style"].encode()).digest()).decode()
            assert page.answer.headers["content-security-policy"] == (
                f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; form-action 'self';"
                " base-uri 'none'; frame-ancestors 'none'"
            )

    async def test_it_is_not_kept_nor_told_to_others(self, client: httpx.AsyncClient, world: World) -> None:
        for page in await self.pages(client, world):
            headers = page.answer.headers
            assert (headers["cache-control"], headers["referrer-policy"]) == ("no-store", "no-referrer")
            assert headers["x-frame-options"] == "DENY"

    async def test_it_can_be_read_by_everybody(self, client: httpx.AsyncClient, world: World) -> None:
        """Language, title, one heading, a label for each field, what is described is there."""
        for page in await self.pages(client, world):
            assert page.all("html") == [{"lang": "en"}]
            assert page.text("h1") in page.text("title")
            assert len(page.all("h1")) == len(page.all("main")) == 1
            labels = {one["for"] for one in page.all("label")}
            assert labels == {one["id"] for one in page.all("input")}
            ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
            for one in page.all("input"):
                assert set((one.get("aria-describedby") or "").split()) <= ids
                assert one["autocomplete"] in {"new-password", "username", "email"}
            for form in page.all("form"):
                assert form == {"method": "post"}  # to where it came from, never into an address

    async def test_it_bears_the_name_and_the_path_of_the_installation(
        self, client: httpx.AsyncClient, app: FastAPI, settings: Settings
    ) -> None:
        app.state.settings = settings.model_copy(
            update={"mail_name": "Volt & <b>Co</b>", "public_url": "https://volt.example/charge"}
        )
        for path in PLAIN:
            _, page = await look(client, path)
            assert page.text("title").endswith(" · Volt & <b>Co</b>")
            assert not page.all("b")
            assert all(one and one.startswith("/charge/") for one in page.links)

    async def test_it_is_no_part_of_the_contract(self, app: FastAPI) -> None:
        words = ("/invite", "/reset-password", "/verify-email", "/change-email", "/sign-in")
        assert not [path for path in app.openapi()["paths"] if path == "/" or path.startswith(words)]


class TestHome:
    async def test_it_says_where_everything_is(self, client: httpx.AsyncClient) -> None:
        status, page = await look(client, "/")
        assert status == 200
        assert {"/docs", "/health", "/sign-in"} <= page.links
        for path in page.links - {None}:
            assert (await client.get(str(path))).status_code == 200
        assert "ws://localhost:8000/ocpp/" in page.text("main")

    async def test_who_is_to_sign_in_learns_how(self, client: httpx.AsyncClient, settings: Settings) -> None:
        status, page = await look(client, "/sign-in")
        assert status == 200
        assert f"curl {settings.public_url}/api/auth/login" in page.text("code")
        assert {"/docs", "/reset-password"} <= page.links


class TestLooking:
    @every_kind
    async def test_it_changes_nothing_however_often_a_scanner_does_it(
        self, client: httpx.AsyncClient, world: World, db: Database, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        before = await user_of(db, who), await trail(db, who.id)
        for _ in range(3):
            assert (await client.head(path)).status_code == 200
            status, page = await look(client, path)
            assert status == 200
            assert len(page.all("button")) == 1
        after = await user_of(db, who), await trail(db, who.id)
        assert after[1] == before[1]
        for column in User.__table__.columns:
            assert getattr(after[0], column.key) == getattr(before[0], column.key)
        assert (await pressed(client, mailed, path))[0] == 200

    @every_kind
    @pytest.mark.parametrize(
        "token",
        ["", "x", UNKNOWN, "a" * 5000, "%00", "é", "a/b", "%2e%2e%2fx", "<script>alert(1)</script>", "%ff"],
    )
    async def test_a_link_that_nobody_was_sent_is_not_found_and_names_nobody(
        self, client: httpx.AsyncClient, world: World, mailed: Mailed, token: str
    ) -> None:
        who = await somebody(world, mailed)
        family = (await mailed(world, who)).split("/")[1]
        for status, page in (
            await look(client, f"/{family}/{token}"),
            await pressed(client, mailed, f"/{family}/{token}"),
        ):
            assert (status, page.all("form")) == (404, [])
            assert "not one of ours" in page.text("[alert]")
            assert who.email not in page.answer.text
            assert not page.all("script")

    async def test_a_slash_at_the_end_means_nothing(self, client: httpx.AsyncClient, world: World) -> None:
        path = await forgotten(world, await somebody(world, forgotten))
        assert (await look(client, f"{path}/"))[0] == 200
        assert (await choose(client, f"{path}/"))[0] == 200

    @every_kind
    async def test_one_for_another_purpose_is_not_found(
        self, client: httpx.AsyncClient, world: World, mailed: Mailed
    ) -> None:
        path = await mailed(world, await somebody(world, mailed))
        token = path.rsplit("/", 1)[1]
        for other in {"invite", "reset-password", "verify-email", "change-email"} - {path.split("/")[1]}:
            assert (await look(client, f"/{other}/{token}"))[0] == 404


class TestUsing:
    @every_kind
    async def test_it_works_once_and_then_says_so(
        self, client: httpx.AsyncClient, world: World, db: Database, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        status, page = await pressed(client, mailed, path)
        assert (status, page.all("form")) == (200, [])
        assert page.text("[status]")
        assert "/sign-in" in page.links
        done = await trail(db, who.id)
        assert KINDS[mailed][1] in done
        for status, page in (await look(client, path), await pressed(client, mailed, path)):
            assert (status, page.all("form")) == (410, [])
            assert "used already" in page.text("[alert]")
            assert who.email not in page.answer.text
        assert await trail(db, who.id) == done

    @every_kind
    async def test_it_ends_when_its_time_is_over(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        clock.advance(KINDS[mailed][0] - 1)
        assert (await look(client, path))[0] == 200
        clock.advance(1)
        for status, page in (await look(client, path), await pressed(client, mailed, path)):
            assert status == 410
            assert "has expired" in page.text("[alert]")
            assert who.email not in page.answer.text

    @every_kind
    async def test_a_newer_one_replaces_it(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        first = await mailed(world, who)
        clock.advance(1)
        second = await mailed(world, who)
        assert first != second
        status, page = await pressed(client, mailed, first)
        assert (status, page.all("form")) == (410, [])
        assert "Use that of the newest mail" in page.text("[alert]")
        assert (await pressed(client, mailed, second))[0] == 200

    @every_kind
    async def test_it_is_void_when_the_account_is_shut(
        self, client: httpx.AsyncClient, world: World, db: Database, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        async with db.session() as session:
            await session.execute(update(User).where(User.id == who.id).values(status="Deactivated"))
        assert (await look(client, path))[0] == (await pressed(client, mailed, path))[0] == 410

    @pytest.mark.parametrize("mailed", [forgotten, unverified], ids=lambda one: one.__name__)
    async def test_who_comes_too_late_is_shown_where_to_ask_again(
        self, client: httpx.AsyncClient, world: World, mailed: Mailed
    ) -> None:
        path = await mailed(world, await somebody(world, mailed))
        await pressed(client, mailed, path)
        _, page = await look(client, path)
        assert path.rpartition("/")[0] in page.links

    @every_kind
    async def test_too_many_from_one_address_are_asked_to_wait(
        self, client: httpx.AsyncClient, app: FastAPI, settings: Settings, world: World, mailed: Mailed
    ) -> None:
        app.state.settings = settings.model_copy(update={"rate_limit_sign_in": 1})
        path = await mailed(world, await somebody(world, mailed))
        await press(client, f"{path.rpartition('/')[0]}/x")
        status, page = await pressed(client, mailed, path)
        assert (status, page.answer.headers["retry-after"]) == (429, "60")
        assert "Try again in 60 seconds" in page.text("[alert]")
        assert (await look(client, path))[0] == 200


class TestPasswords:
    @of_passwords
    async def test_the_one_that_was_chosen_opens_the_account(
        self, client: httpx.AsyncClient, world: World, db: Database, mailed: Mailed
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        _, page = await look(client, path)
        assert page.input("username")["value"] == who.email  # so that a password manager keeps both
        assert page.input("password")["minlength"] == "8"
        assert (await choose(client, path))[0] == 200
        assert (await login(client, who, NEW)).status_code == 200
        assert (await user_of(db, who)).email_verified_at == world.clock.now()

    @of_passwords
    @pytest.mark.parametrize(
        "refused",
        [
            ("", "The password needs at least 8 characters"),
            ("short", "The password needs at least 8 characters"),
            ("password1", "The password is easily guessed."),
            ("x" * 1025, "The password has more than 1024 characters"),
        ],
        ids=["none", "short", "easy", "long"],
    )
    async def test_a_weak_one_is_refused_beside_its_field_and_uses_nothing_up(
        self, client: httpx.AsyncClient, world: World, db: Database, mailed: Mailed, refused: tuple[str, str]
    ) -> None:
        who = await somebody(world, mailed)
        path = await mailed(world, who)
        before = await trail(db, who.id)
        weak, why = refused
        status, page = await choose(client, path, weak)
        assert status == 422
        assert page.text("[alert]").startswith(why)
        field = page.input("password")
        assert (field["aria-invalid"], "autofocus" in field) == ("true", True)
        assert "password-fault" in (field["aria-describedby"] or "")
        assert page.text("title").startswith("Please correct: ")
        assert all("value" not in one for one in page.all("input") if one["type"] == "password")
        assert await trail(db, who.id) == before
        assert (await choose(client, path))[0] == 200

    @of_passwords
    async def test_it_is_typed_twice(self, client: httpx.AsyncClient, world: World, mailed: Mailed) -> None:
        path = await mailed(world, await somebody(world, mailed))
        for status, page in (
            await choose(client, path, again=NEW + " "),
            await choose(client, path, again=""),
            await press(client, path, password=NEW),
        ):
            assert (status, page.text("[alert]")) == (422, "This is not the same as the first")
            assert page.input("again")["aria-invalid"] == "true"
        assert (await choose(client, path))[0] == 200

    async def test_every_letter_arrives_as_it_was_typed(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        who = await somebody(world, forgotten)
        odd = "  Grüße & 100%+ ключ=\u2603 "
        assert (await choose(client, await forgotten(world, who), odd))[0] == 200
        assert (await login(client, who, odd)).status_code == 200
        assert (await login(client, who, odd.strip())).status_code == 401

    async def test_a_new_one_signs_every_device_out_and_a_mail_tells_of_it(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await somebody(world, forgotten)
        before = await login(client, who)
        assert (await choose(client, await forgotten(world, who)))[0] == 200
        assert await status_of_me(client, before) == 401
        assert (await login(client, who)).status_code == 401
        assert len(await mails(db, who.email, "password_changed")) == 1

    async def test_who_has_chosen_one_by_another_way_is_told_to_sign_in(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await somebody(world, invited)
        path = await invited(world, who)
        async with db.session() as session:
            await session.execute(update(User).where(User.id == who.id).values(password_hash="x"))
        status, page = await look(client, path)
        assert (status, page.text("[alert]")) == (410, "You have a password already. Sign in.")

    async def test_of_several_at_once_one_chooses(self, server: RunningServer, server_world: World) -> None:
        who = await server_world.user(Role.OPERATOR, email=f"{uuid4().hex[:8]}@volt.example")
        path = await invited(server_world, who)
        chosen = [f"{NEW} {number}" for number in range(4)]
        async with httpx.AsyncClient(base_url=server.http, trust_env=False, timeout=30) as http:
            answers = await asyncio.gather(*(choose(http, path, one) for one in chosen))
            statuses = [status for status, _ in answers]
            assert sorted(statuses) == [200, 410, 410, 410]
            assert (await login(http, who, chosen[statuses.index(200)])).status_code == 200

    async def test_when_too_many_wait_nothing_is_used_up(
        self, client: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = await forgotten(world, await somebody(world, forgotten))
        with monkeypatch.context() as patch:
            patch.setattr(passwords, "_hashing", HashingThread(limit=0))
            status, page = await choose(client, path)
        assert (status, page.answer.headers["retry-after"]) == (503, "5")
        assert page.text("h1") == "Not at this moment"
        assert (await choose(client, path))[0] == 200


class TestAddresses:
    async def test_verifying_takes_the_button(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await somebody(world, unverified)
        path = await unverified(world, who)
        _, page = await look(client, path)
        assert who.email in page.text("main")
        assert (await user_of(db, who)).email_verified_at is None
        await press(client, path)
        assert (await user_of(db, who)).email_verified_at == world.clock.now()

    async def test_a_new_one_is_signed_in_with_from_then_on(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await somebody(world, moving)
        before = await login(client, who)
        path = await moving(world, who)
        _, page = await look(client, path)
        assert f"new-{who.email}" in page.text("main")
        assert (await press(client, path))[0] == 200
        assert await status_of_me(client, before) == 401
        assert (await login(client, f"new-{who.email}")).status_code == 200
        assert len(await mails(db, who.email, "email_changed")) == 1

    async def test_one_that_somebody_has_by_now_is_refused_and_uses_nothing_up(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await somebody(world, moving)
        path = await moving(world, who)
        other = await world.user(Role.OPERATOR, email=f"new-{who.email}")
        status, page = await press(client, path)
        assert status == 409
        assert page.text("[alert]")
        assert (await user_of(db, who)).email == who.email
        async with db.session() as session:
            await session.execute(update(User).where(User.id == other.id).values(email="gone@ex.example"))
        assert (await press(client, path))[0] == 200


class TestAskingForALink:
    @pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
    async def test_it_is_one_answer_whether_there_is_an_account_or_not(
        self, client: httpx.AsyncClient, world: World, path: str
    ) -> None:
        who = await person(world)
        known = await press(client, path, email=f" {who.email.upper()} ")
        unknown = await press(client, path, email="nobody@volt.example")
        assert known[0] == unknown[0] == 200
        said = [page.text("main").lower().replace(" ", "") for _, page in (known, unknown)]
        assert said[0].replace(who.email, "") == said[1].replace("nobody@volt.example", "")

    async def test_who_has_not_verified_its_address_gets_another_link(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        who = await person(world)
        assert (await press(client, "/verify-email", email=who.email))[0] == 200
        path = "/verify-email/" + await link(db, who.email, "/verify-email/")
        assert (await press(client, path))[0] == 200
        assert (await user_of(db, who)).email_verified_at is not None

    @pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
    async def test_what_is_no_address_is_refused_beside_its_field(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        status, page = await press(client, path, email="asha")
        assert status == 422
        assert page.text("[alert]")
        field = page.input("email")
        assert (field["value"], field["aria-invalid"]) == ("asha", "true")

    @pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
    async def test_what_was_typed_is_text_and_no_markup(self, client: httpx.AsyncClient, path: str) -> None:
        typed = "\"><script>alert(1)</script><b a='{{ 7 * 7 }}"
        _, page = await press(client, path, email=typed)
        assert not page.all("script") + page.all("b")
        shown = page.text("main") + "".join(one.get("value") or "" for one in page.all("input"))
        assert typed in shown

    @pytest.mark.parametrize("path", ["/reset-password", "/verify-email"])
    async def test_too_many_from_one_address_are_asked_to_wait(
        self, client: httpx.AsyncClient, path: str
    ) -> None:
        answers = [await press(client, path, email="asha@volt.example") for _ in range(25)]
        status, page = answers[-1]
        assert (answers[0][0], status) == (200, 429)
        assert int(page.answer.headers["retry-after"]) > 0


class TestForms:
    @pytest.mark.parametrize(
        ("content", "kind"),
        [
            (b'{"password": "copper lantern 77"}', "application/json"),
            (b"password=copper&again=copper", "text/plain"),
            (b"password=%ff%fe&again=x", FORM),
            (b"password=\xc3\xa9", FORM),
            (b"&".join(b"a%d=1" % number for number in range(11)), FORM),
        ],
        ids=["json", "text", "no utf-8", "raw", "many"],
    )
    async def test_what_no_page_sends_is_refused_and_uses_nothing_up(
        self, client: httpx.AsyncClient, world: World, content: bytes, kind: str
    ) -> None:
        path = await forgotten(world, await somebody(world, forgotten))
        answer = await client.post(path, content=content, headers={"Content-Type": kind})
        assert (answer.status_code, Page(answer).text("h1")) == (400, "That did not work")
        assert (await choose(client, path))[0] == 200

    async def test_a_field_that_the_page_does_not_have_is_left_alone(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        path = await unverified(world, await somebody(world, unverified))
        assert (await press(client, path, other="x" * 2000))[0] == 200

    async def test_several_parts_are_no_form_of_ours(self, client: httpx.AsyncClient) -> None:
        answer = await client.post("/reset-password", files={"email": ("x", b"x")})
        assert answer.status_code == 400

    async def test_an_endless_field_is_refused(self, client: httpx.AsyncClient) -> None:
        assert (await press(client, "/reset-password", email="x" * 1025))[0] == 422
        assert (await client.post("/reset-password", data={"email": "x" * 2_000_000})).status_code == 413
