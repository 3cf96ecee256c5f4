"""Links to files that carry their own right: signed in the path, since many chargers drop a query string.

A token is 48 characters: what it is for (a UUID), when it ends, and an HMAC-SHA-256 over both and the
purpose, cut to 128 bits. Whoever has it may use it; it is made for one charger, one purpose and one use.

The subject of an upload is what the file is for. That of a download is a `FileLink`: whoever had it made
says when its use is over. The row is of no use to who reads the database: the signature is not in it.
"""

import base64
import hmac
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, Index, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ohmstead.core.config import Settings
from ohmstead.core.db import Base
from ohmstead.core.errors import DomainError, Kind, NotFound

TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{48}")
LATEST: Final = 2**32 - 1
"""The last moment that four bytes can name: in the year 2106."""


class Purpose(StrEnum):
    """What a token is good for; one for the one is worth nothing for the other."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


class FileLink(Base):
    """A link to a file: over when its use has ended, or at `until`; then its row goes soon."""

    __tablename__ = "core_file_link"
    __table_args__ = (Index("ix_core_file_link_file", "file_id"), Index("ix_core_file_link_until", "until"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    file_id: Mapped[UUID] = mapped_column(ForeignKey("core_file.id", ondelete="CASCADE"))
    until: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class LinkEnded(DomainError):
    """A link that was right and is over."""

    kind = Kind.GONE
    code = "LinkExpired"


def sign(settings: Settings, purpose: Purpose, subject: UUID, until: datetime) -> str:
    """Return the token that is good for `purpose` on `subject` until that moment."""
    ends = min(int(until.timestamp()), LATEST)
    body = subject.bytes + ends.to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _mac(settings.signing_key, purpose, body)).decode()


def subject_of(settings: Settings, purpose: Purpose, token: str, now: datetime) -> UUID:
    """Return what a token is for. Raises `NotFound` for one that is not ours, `LinkEnded` for an old one."""
    if TOKEN.fullmatch(token) is None:
        raise _unknown()
    raw = base64.urlsafe_b64decode(token)
    body, mac = raw[:20], raw[20:]
    if not any(hmac.compare_digest(mac, _mac(key, purpose, body)) for key in settings.signing_keys):
        raise _unknown()
    if now >= datetime.fromtimestamp(int.from_bytes(body[16:], "big"), UTC):
        raise LinkEnded("This link has expired. Ask for a new one.")
    return UUID(bytes=body[:16])


async def link_to(session: AsyncSession, file_id: UUID, until: datetime) -> UUID:
    """Make a link for one use of a file, at most until that moment; returns its id for `download_url`.

    One use is whatever its maker takes for one, until `end_link`: an update of a charger is many requests.
    """
    link = FileLink(id=uuid4(), file_id=file_id, until=until)
    session.add(link)
    await session.flush()
    return link.id


async def end_link(session: AsyncSession, link_id: UUID, now: datetime) -> None:
    """Say that the use of a link is over: from now on it is answered with 410."""
    await session.execute(
        update(FileLink).where(FileLink.id == link_id, FileLink.ended_at.is_(None)).values(ended_at=now)
    )


def download_url(settings: Settings, link_id: UUID, name: str, until: datetime) -> str:
    """Return the address of a link that was made by `link_to`, which ends at that moment at the latest."""
    token = sign(settings, Purpose.DOWNLOAD, link_id, until)
    return f"{settings.public_url}/files/{token}/{quote(name, safe='')}"


def upload_url(settings: Settings, subject: UUID, until: datetime) -> str:
    """Return the address where one file can be left until that moment.

    It ends with a slash: chargers put their own file name behind it, with a slash of theirs or without.
    """
    return f"{settings.public_url}/uploads/{sign(settings, Purpose.UPLOAD, subject, until)}/"


def _mac(key: str, purpose: Purpose, body: bytes) -> bytes:
    message = b"ohmstead.file-link.1\0" + purpose.encode() + b"\0" + body
    return hmac.digest(key.encode(), message, "sha256")[:16]


def _unknown() -> NotFound:
    return NotFound(
        "There is nothing at this address. Look whether the link is complete.", code="LinkUnknown"
    )
