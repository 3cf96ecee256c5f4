"""Signed-in sessions and their refresh tokens (RFC 9700 4.14: rotation, with detection of reuse).

A session is a row; its access tokens name it and end with it. A refresh token is good for one use: it is
answered with new tokens. Whoever shows one that has been used before holds a copy, or its owner does, so the
whole session ends. Two tabs of a browser that come with the same token at once get the same successor: none
of them could know of it, and a thief among them has no chain of its own.

A refresh token is `ohr_` and 52 bytes in base64url: the id of the session, the number of the token within it,
and an HMAC over both with a random seed that only the row has. Nothing that could be used is stored.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import access_tokens
from ohmstead.accounts.access import acting_of, check_standing, principal_of
from ohmstead.accounts.audit import record
from ohmstead.accounts.models import Backoffice, User
from ohmstead.accounts.passwords import derive_key
from ohmstead.accounts.sign_in_models import SignInSession
from ohmstead.core.acting import signed_in
from ohmstead.core.clock import Clock
from ohmstead.core.config import Settings
from ohmstead.core.db import Database
from ohmstead.core.errors import Unauthenticated

TOKEN = re.compile(r"ohr_([A-Za-z0-9_-]{70})")
LONGEST_DEVICE = 200
LONGEST_ADDRESS = 64

logger = structlog.stdlib.get_logger(__name__)


class RefreshBy(StrEnum):
    """How a client gets its refresh token: in a cookie that scripts cannot read, or in the answer."""

    COOKIE = "cookie"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Client:
    """From where somebody signs in: what its device says of itself, and its address.

    `refresh_by` is how it wants its refresh token; None: it wants none.
    """

    device: str | None
    address: str | None
    refresh_by: RefreshBy | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """What a client gets: an access token, and a refresh token when it asked for one."""

    user: User
    session_id: UUID
    access_token: str
    issued_at: datetime
    expires_at: datetime
    refresh_token: str | None
    refresh_expires_at: datetime | None


class RefreshTokenReused(Unauthenticated):
    """A refresh token came again that had been used: the session of this user has ended."""

    code = "RefreshTokenReused"

    def __init__(self, user_id: UUID) -> None:
        super().__init__(
            "This refresh token was used before: somebody may have a copy, so the session has ended."
            " Sign in again."
        )
        self.user_id = user_id


async def open_session(
    session: AsyncSession, settings: Settings, user: User, *, client: Client, now: datetime
) -> Opened:
    """Sign a user in, whose identity has been proved by whatever means, and return its tokens.

    Without a refresh token the session is as long as the access token. Whether the user may act is not
    asked here (see `check_standing`).
    """
    row = SignInSession(
        id=uuid4(),
        user_id=user.id,
        seed=secrets.token_bytes(32),
        generation=1 if client.refresh_by else 0,
        device=_shown(client.device, LONGEST_DEVICE),
        address=_shown(client.address, LONGEST_ADDRESS),
        created_at=now,
        used_at=now,
        expires_at=now + access_tokens.lifetime(settings),
    )
    if client.refresh_by:
        row.expires_at = _end(settings, row, now)
    user.last_login_at = now
    session.add_all((user, row))
    signed_in(acting_of(principal_of(user)))
    await record(
        session,
        "user.signed_in",
        entity="user",
        entity_id=user.id,
        person_id=user.id,
        personal={"device": row.device} if row.device else None,
        backoffice_id=user.backoffice_id,
    )
    return _opened(settings, user, row, now)


async def refresh(
    database: Database, settings: Settings, token: str, *, address: str | None, now: datetime, clock: Clock
) -> Opened:
    """Turn a refresh token, that came `now`, in for new tokens.

    Raises `Unauthenticated`: for a token that is none or not valid any more (`SignedOut`), for one that was
    used before (`RefreshTokenReused`), which ends its session, and for a user who may not act.
    """
    async with database.session() as session:
        opened = await _refreshed(session, settings, token, address=address, now=now, clock=clock)
    if isinstance(opened, Unauthenticated):  # raised only now: what it has changed is committed
        raise opened
    return opened


async def _refreshed(
    session: AsyncSession,
    settings: Settings,
    token: str,
    *,
    address: str | None,
    now: datetime,
    clock: Clock,
) -> Opened | Unauthenticated:
    found = await _find(session, settings, token)
    if found is None:
        return signed_out()
    row, generation = found
    if now >= row.expires_at:
        await session.delete(row)
        return signed_out()
    user, business = (
        await session.execute(
            select(User, Backoffice.status)
            .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
            .where(User.id == row.user_id)
        )
    ).one()
    signed_in(acting_of(principal_of(user)))
    behind = row.generation - generation
    # What came before its successor was made was no reuse when it was sent.
    if behind > 1 or (behind == 1 and now > row.used_at):
        logger.warning("refresh_token.reused", user_id=str(user.id))
        await record(
            session,
            "user.refresh_token_reused",
            entity="user",
            entity_id=user.id,
            person_id=user.id,
            backoffice_id=user.backoffice_id,
        )
        await session.delete(row)
        return RefreshTokenReused(user.id)
    check_standing(user, business)
    if behind == 0:
        row.generation += 1
        row.used_at = clock.now()
        row.expires_at = _end(settings, row, now)
        row.address = _shown(address, LONGEST_ADDRESS)
    return _opened(settings, user, row, now)


async def _find(session: AsyncSession, settings: Settings, token: str) -> tuple[SignInSession, int] | None:
    """Return the session that a refresh token was really given out in, locked, and the token's number."""
    found = TOKEN.fullmatch(token)
    if found is None:
        return None
    raw = base64.urlsafe_b64decode(found[1] + "==")
    session_id, generation, mac = UUID(bytes=raw[:16]), int.from_bytes(raw[16:20], "big"), raw[20:]
    row = await session.get(SignInSession, session_id, with_for_update=True)
    if row is None or not 0 < generation <= row.generation:
        return None
    right = any(hmac.compare_digest(mac, _mac(key, row, generation)) for key in settings.signing_keys)
    return (row, generation) if right else None


def _opened(settings: Settings, user: User, row: SignInSession, now: datetime) -> Opened:
    refreshable = row.generation > 0
    return Opened(
        user=user,
        session_id=row.id,
        access_token=access_tokens.issue(settings, user, now, row.id),
        issued_at=now,
        expires_at=now + access_tokens.lifetime(settings),
        refresh_token=_token(settings.signing_key, row) if refreshable else None,
        refresh_expires_at=row.expires_at if refreshable else None,
    )


def _token(key: str, row: SignInSession) -> str:
    raw = row.id.bytes + row.generation.to_bytes(4, "big") + _mac(key, row, row.generation)
    return "ohr_" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(key: str, row: SignInSession, generation: int) -> bytes:
    message = row.id.bytes + generation.to_bytes(4, "big") + row.seed
    return hmac.digest(derive_key(key, "refresh-token"), message, hashlib.sha256)


def _end(settings: Settings, row: SignInSession, now: datetime) -> datetime:
    """Return when a session ends unless it is used before: each use moves it on, up to its longest life."""
    idle = now + timedelta(days=settings.sign_in_idle_days)
    return min(idle, row.created_at + timedelta(days=settings.sign_in_days))


def _shown(text: str | None, longest: int) -> str | None:
    """Return what a client says of itself as the database can hold it."""
    printable = "".join(sign for sign in text or "" if sign.isprintable())
    return printable[:longest] or None


def signed_out() -> Unauthenticated:
    """Return the refusal of a session that is over."""
    return Unauthenticated("You are signed out. Sign in again.", code="SignedOut")


# --- ending sessions


async def session_of(session: AsyncSession, settings: Settings, token: str) -> tuple[UUID, UUID] | None:
    """Return the session that a refresh token was given out in, and its user; None for any other token."""
    found = await _find(session, settings, token)
    return None if found is None else (found[0].id, found[0].user_id)


async def list_sessions(session: AsyncSession, user_id: UUID, now: datetime) -> list[SignInSession]:
    """Return the sessions of a user that are not over, the one used last first."""
    query = (
        select(SignInSession)
        .where(SignInSession.user_id == user_id, SignInSession.expires_at > now)
        .order_by(SignInSession.used_at.desc(), SignInSession.id)
    )
    return list(await session.scalars(query))


async def end_session(session: AsyncSession, user_id: UUID, session_id: UUID) -> bool:
    """End one session of a user; False when there is no such one. Its live connections are the caller's."""
    ended = await session.execute(
        delete(SignInSession)
        .where(SignInSession.id == session_id, SignInSession.user_id == user_id)
        .returning(SignInSession.id)
    )
    return ended.first() is not None


async def end_sessions(session: AsyncSession, user_id: UUID, *, but: UUID | None = None) -> int:
    """End every session of a user, save one (`but`); returns how many. Live connections are the caller's."""
    statement = delete(SignInSession).where(SignInSession.user_id == user_id)
    if but is not None:
        statement = statement.where(SignInSession.id != but)
    return len((await session.execute(statement.returning(SignInSession.id))).all())
