"""Signing in by an API key: what the machine that holds it may do at this moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.api_keys_models import ApiKey
from ohmstead.accounts.api_keys_secrets import is_whole
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated

USED_AGAIN_AFTER: Final = timedelta(minutes=1)
"""When a key was used last is written at most so often."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who holds a key, and until when it is good (None: until it is revoked)."""

    principal: Principal
    expires_at: datetime | None


async def holder_of(session: AsyncSession, settings: Settings, key: str, now: datetime) -> KeyHolder:
    """Return who holds a key, with the rights that its row gives now; note that it was used.

    Raises `Unauthenticated` for one that is not ours, is revoked or over, and when its business is not at
    work.
    """
    found = None
    hashes: list[str] = []
    if is_whole(key):
        hashes += (secret_hash(key, secret) for secret in settings.signing_keys)
        query = (
            select(ApiKey, Backoffice.status)
            .outerjoin(Backoffice, Backoffice.id == ApiKey.backoffice_id)
            .where(ApiKey.key_hash.in_(hashes))
        )
        found = (await session.execute(query)).one_or_none()
    if found is None:
        raise Unauthenticated(
            "There is no such API key. Look whether it was copied whole.", code="ApiKeyUnknown"
        )
    row, business = found
    if row.revoked_at is not None:
        raise Unauthenticated("This API key was revoked. Ask for a new one.", code="ApiKeyRevoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthenticated("This API key has expired. Ask for a new one.", code="ApiKeyExpired")
    if row.backoffice_id is not None and business != BackofficeStatus.ACTIVE:
        raise Unauthenticated("The business of this API key is not at work.", code="BusinessMissing")
    if row.key_hash != hashes[0]:  # made with the previous secret key: from now on it needs that no more
        await session.execute(update(ApiKey).where(ApiKey.id == row.id).values(key_hash=hashes[0]))
    await _used(session, row, now)
    return KeyHolder(principal_of_key(row), row.expires_at)


def role_of_key(row: ApiKey) -> Role:
    """Return the role that a key acts in: an Operator's at its stations, else that of whom it belongs to."""
    if row.station_ids:
        return Role.OPERATOR
    return Role.SYSTEM_ADMIN if row.backoffice_id is None else Role.BACKOFFICE


def principal_of_key(row: ApiKey) -> Principal:
    """Return a key as the principal that its row makes it."""
    return Principal(
        user_id=row.id,
        email=row.name,
        role=role_of_key(row),
        backoffice_id=row.backoffice_id,
        station_ids=frozenset(row.station_ids),
        key_permissions=frozenset(row.permissions),
    )


async def _used(session: AsyncSession, row: ApiKey, now: datetime) -> None:
    """Write that a key is used, unless that was written less than a minute ago."""
    before = now - USED_AGAIN_AFTER
    if row.last_used_at is not None and row.last_used_at > before:
        return
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= before)
    # Two requests at once must not wait for one another: the second finds it written.
    await session.execute(update(ApiKey).where(ApiKey.id == row.id, stale).values(last_used_at=now))
