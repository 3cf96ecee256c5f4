"""Mail over a real SMTP server, and where it stays without one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from procrastinate import JobContext
from pydantic import SecretStr
from sqlalchemy import select
from tests.chargers import until
from tests.gateway.admin import admin_client
from tests.inbox import Inbox, inbox, plain_inbox
from tests.running import RunningServer, free_port
from tests.world import World

from ohmstead.accounts.models import Role
from ohmstead.core.config import Settings
from ohmstead.core.jobs import RETRY
from ohmstead.mail.jobs import TRIES, deliver_mail
from ohmstead.mail.models import Mail, MailStatus
from ohmstead.mail.service import send_mail
from ohmstead.mail.smtp import MailRefused, MailServerAway, deliver

__all__ = ["inbox", "plain_inbox"]


@pytest.fixture
async def mailing(inbox: tuple[Inbox, str], make_server: Any) -> AsyncIterator[RunningServer]:
    async with make_server(smtp_url=inbox[1], mail_from="net@volt.example", mail_name="Volt Net") as server:
        yield server


async def send(server: RunningServer, to: str = "maya@volt.example") -> Any:
    async with server.database.session() as session:
        return await send_mail(
            session,
            server.settings,
            to=to,
            template="password_reset",
            name="Maya",
            email=to,
            url="https://charge.example/reset/s3cret",
            expires="noon",
        )


async def row(server: RunningServer, mail_id: Any) -> Mail:
    async with server.database.session() as session:
        found = await session.scalar(select(Mail).where(Mail.id == mail_id))
    assert found is not None
    return found


async def status(server: RunningServer, mail_id: Any, wanted: MailStatus) -> Mail:
    async def there() -> Mail | None:
        found = await row(server, mail_id)
        return found if found.status == wanted else None

    mail: Mail = await until(there)
    return mail


class TestWithAMailServer:
    async def test_a_mail_arrives_once_in_text_and_html_and_its_text_is_forgotten_here(
        self, mailing: RunningServer, inbox: tuple[Inbox, str]
    ) -> None:
        mail = await status(mailing, await send(mailing), MailStatus.SENT)
        assert (mail.text, mail.html, mail.tries) == (None, None, 1)
        [arrived] = inbox[0].mails
        assert arrived["To"] == "maya@volt.example"
        assert arrived["From"] == "Volt Net <net@volt.example>"
        assert arrived["Subject"] == "Choose a new password"
        assert arrived["Message-ID"] == f"<{mail.id}@volt.example>"
        kinds = [part.get_content_type() for part in arrived.walk()]
        assert kinds == ["multipart/alternative", "text/plain", "text/html"]
        text = arrived.get_payload()[0].get_payload(decode=True)  # type: ignore[union-attr,index] # multipart, see above
        assert b"https://charge.example/reset/s3cret" in text

    async def test_an_address_that_is_refused_for_good_is_not_tried_again(
        self, mailing: RunningServer, inbox: tuple[Inbox, str]
    ) -> None:
        inbox[0].refuse["gone@volt.example"] = "550 no such user"
        mail = await status(mailing, await send(mailing, "gone@volt.example"), MailStatus.FAILED)
        assert (mail.tries, mail.error) == (1, "550 no such user")

    async def test_a_mail_waits_for_a_server_that_is_busy_and_is_the_same_mail_then(
        self, mailing: RunningServer, inbox: tuple[Inbox, str]
    ) -> None:
        inbox[0].refuse["busy@volt.example"] = "451 come back later"
        mail_id = await send(mailing, "busy@volt.example")

        async def tried() -> bool:
            return (await row(mailing, mail_id)).tries >= 1

        await until(tried)
        assert (await row(mailing, mail_id)).status == MailStatus.QUEUED
        inbox[0].refuse.clear()
        await status(mailing, mail_id, MailStatus.SENT)
        assert [one["Message-ID"] for one in inbox[0].mails] == [f"<{mail_id}@volt.example>"]

    async def test_other_letters_reach_a_server_that_takes_them(
        self, inbox: tuple[Inbox, str], make_server: Any
    ) -> None:
        async with make_server(smtp_url=inbox[1], mail_from="net@bücher.example") as server:
            await status(server, await send(server, "mäya@münchen.example"), MailStatus.SENT)
        assert inbox[0].recipients == ["mäya@xn--mnchen-3ya.example"]
        assert "net@xn--bcher-kva.example" in inbox[0].mails[0]["From"]

    async def test_of_other_letters_a_plain_server_takes_the_domain_and_never_the_name(
        self, plain_inbox: tuple[Inbox, str], make_server: Any
    ) -> None:
        async with make_server(smtp_url=plain_inbox[1]) as server:
            mail = await status(server, await send(server, "maya@münchen.example"), MailStatus.SENT)
            assert mail.recipient == "maya@münchen.example"
            assert plain_inbox[0].recipients == ["maya@xn--mnchen-3ya.example"]
            assert [one["To"] for one in plain_inbox[0].mails] == ["maya@xn--mnchen-3ya.example"]
            mail = await status(server, await send(server, "mäya@volt.example"), MailStatus.FAILED)
        assert mail.tries == 1
        assert mail.error is not None
        assert "SMTPUTF8" in mail.error
        assert len(plain_inbox[0].mails) == 1

    async def test_nothing_goes_out_when_the_unit_of_work_is_undone(
        self, mailing: RunningServer, inbox: tuple[Inbox, str]
    ) -> None:
        async def undone() -> None:
            async with mailing.database.session() as session:
                to = "never@volt.example"
                await send_mail(
                    session, mailing.settings, to=to, template="business_requested", name="", business="V"
                )
                raise ValueError("undone")

        with pytest.raises(ValueError, match="undone"):
            await undone()
        await status(mailing, await send(mailing), MailStatus.SENT)
        assert [one["To"] for one in inbox[0].mails] == ["maya@volt.example"]


class TestWithoutAMailServer:
    async def test_a_mail_is_kept_and_its_text_shown_to_a_system_admin_alone(
        self, server: RunningServer, server_world: World
    ) -> None:
        mail_id = await send(server, "kept@volt.example")
        await status(server, mail_id, MailStatus.KEPT)
        async with admin_client(server.http, (await server_world.admin()).headers) as client:
            listed = (await client.get("/api/admin/mail", params={"q": "kept@volt"})).json()
            [item] = [one for one in listed["items"] if one["id"] == str(mail_id)]
            assert (item["status"], item["subject"]) == ("Kept", "Choose a new password")
            assert "text" not in item
            detail = (await client.get(f"/api/admin/mail/{mail_id}")).json()
            assert "https://charge.example/reset/s3cret" in detail["text"]
        backoffice = await server_world.user(Role.BACKOFFICE)
        async with admin_client(server.http, backoffice.headers) as client:
            assert (await client.get("/api/admin/mail")).status_code == 403
            assert (await client.get(f"/api/admin/mail/{mail_id}")).status_code == 403


class TestTheServerItself:
    def mail(self) -> Mail:
        return Mail(recipient="a@b.example", subject="S", text="t", html=None, created_at=datetime.now(UTC))

    async def test_a_server_that_is_away_is_told_from_one_that_refuses(self, settings: Settings) -> None:
        away = settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{free_port()}")})
        with pytest.raises(MailServerAway):
            await deliver(away, self.mail())

    async def test_a_mail_is_given_up_after_the_last_of_twelve_tries_and_says_so(
        self, server: RunningServer
    ) -> None:
        away = server.settings.model_copy(update={"smtp_url": SecretStr(f"smtp://127.0.0.1:{free_port()}")})
        mail_id = await send(server)
        await status(server, mail_id, MailStatus.KEPT)
        async with server.database.session() as session:
            (await session.get_one(Mail, mail_id)).status = MailStatus.QUEUED

        async def attempt(before: int) -> Mail:
            means = {"settings": away, "database": server.database, "clock": server.app.state.clock}
            context = SimpleNamespace(additional_context=means, job=SimpleNamespace(attempts=before))
            await deliver_mail.func(cast(JobContext, context), str(mail_id))
            return await row(server, mail_id)

        with pytest.raises(MailServerAway):  # the queue tries again
            await attempt(10)
        assert (await row(server, mail_id)).status == MailStatus.QUEUED
        mail = await attempt(11)
        assert (mail.status, mail.tries) == (MailStatus.FAILED, 2)
        assert mail.error

    async def test_the_tries_span_about_three_days(self) -> None:
        waits = timedelta(seconds=sum(RETRY.exponential_wait**number for number in range(1, TRIES)))
        assert timedelta(days=2.5) < waits < timedelta(days=3.5)

    async def test_a_password_never_goes_over_a_plain_line(
        self, settings: Settings, inbox: tuple[Inbox, str]
    ) -> None:
        url = inbox[1].replace("smtp://", "smtp://me:s3cret@")
        with pytest.raises((MailServerAway, MailRefused)):
            await deliver(settings.model_copy(update={"smtp_url": SecretStr(url)}), self.mail())
        assert inbox[0].mails == []
