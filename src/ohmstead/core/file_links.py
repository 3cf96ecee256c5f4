"""Links to files that carry their own right: signed in the path, since many chargers drop a query string.

A token is 48 characters: what it is for (a UUID), when it ends, and an HMAC-SHA-256 over both and the
purpose, cut to 128 bits. Whoever has it may use it; it is made for one charger and one purpose.
"""

import base64
import hmac
import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from urllib.parse import quote
from uuid import UUID

from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Kind, NotFound

TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{48}")
LATEST: Final = 2**32 - 1
"""The last moment that four bytes can name: in the year 2106."""


class Purpose(StrEnum):
    """What a token is good for; one for the one is worth nothing for the other."""

    DOWNLOAD = "download"
    UPLOAD = "upload"


class LinkEnded(DomainError):
    """A link that was right and is over."""

    kind = Kind.GONE
    code = "LinkExpired"


def sign(settings: Settings, purpose: Purpose, subject: UUID, until: datetime) -> str:
    """Return the token that is good for `purpose` on `subject` until that moment."""
    ends = min(int(until.timestamp()), LATEST)
    body = subject.bytes + ends.to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + _mac(settings, purpose, body)).decode()


def subject_of(settings: Settings, purpose: Purpose, token: str, now: datetime) -> UUID:
    """Return what a token is for. Raises `NotFound` for one that is not ours, `LinkEnded` for an old one."""
    if TOKEN.fullmatch(token) is None:
        raise _unknown()
    raw = base64.urlsafe_b64decode(token)
    body, mac = raw[:20], raw[20:]
    if not hmac.compare_digest(mac, _mac(settings, purpose, body)):
        raise _unknown()
    if now >= datetime.fromtimestamp(int.from_bytes(body[16:], "big"), UTC):
        raise LinkEnded("This link has expired. Ask for a new one.")
    return UUID(bytes=body[:16])


def download_url(settings: Settings, file_id: UUID, name: str, until: datetime) -> str:
    """Return the address where a file can be had until that moment, as often as needed."""
    token = sign(settings, Purpose.DOWNLOAD, file_id, until)
    return f"{settings.public_url}/files/{token}/{quote(name, safe='')}"


def upload_url(settings: Settings, subject: UUID, until: datetime) -> str:
    """Return the address where one file can be left until that moment.

    It ends with a slash: chargers put their own file name behind it, with a slash of theirs or without.
    """
    return f"{settings.public_url}/uploads/{sign(settings, Purpose.UPLOAD, subject, until)}/"


def _mac(settings: Settings, purpose: Purpose, body: bytes) -> bytes:
    message = b"ohmstead.file-link.1\0" + purpose.encode() + b"\0" + body
    return hmac.digest(settings.signing_key.encode(), message, "sha256")[:16]


def _unknown() -> NotFound:
    return NotFound(
        "There is nothing at this address. Look whether the link is complete.", code="LinkUnknown"
    )
