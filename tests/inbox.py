"""A real mail server that tests read their mail from."""

import re
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.chargers import until
from tests.running import free_port


class Inbox:
    """A mail server that keeps what it takes, and refuses what it is told to."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.recipients: list[str] = []
        self.refuse: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 # the names are aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuse:
            return self.refuse[address]
        self.recipients.append(address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content or b""))  # type: ignore[arg-type] # bytes unless asked otherwise
        return "250 taken"

    async def link(self, to: str, path: str, number: int = 1) -> str:
        """Wait for the `number`th mail to `to` with a link to `path`; return what stands behind the path."""

        async def found() -> str | None:
            texts = [text_of(mail) for mail in self.mails if mail["To"] == to]
            links = [hit[1] for text in texts for hit in re.finditer(rf"https?://\S+{path}(\S+)", text)]
            return links[number - 1] if len(links) >= number else None

        link: str = await until(found)
        return link


def text_of(mail: Message) -> str:
    """Return the plain text of a mail."""
    part = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
    text = part.get_payload(decode=True)
    assert isinstance(text, bytes)
    return text.decode()


def _serving(**options: Any) -> Iterator[tuple[Inbox, str]]:
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port(), **options)
    controller.start()
    yield handler, f"smtp://127.0.0.1:{controller.port}"
    controller.stop()


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    yield from _serving()


@pytest.fixture
def plain_inbox() -> Iterator[tuple[Inbox, str]]:
    """A mail server that takes no names in other letters (it has no SMTPUTF8, RFC 6531)."""
    yield from _serving(enable_SMTPUTF8=False)
