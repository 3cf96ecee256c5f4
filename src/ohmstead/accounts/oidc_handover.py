"""What a provider has confirmed, handed over to a client: once, by a code and a secret that only it has."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.oidc_identities import Confirmed
from ohmstead.accounts.oidc_models import IdentityHandover
from ohmstead.accounts.oidc_rounds import challenge_of
from ohmstead.accounts.passwords import secret_hash
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated

LIFETIME = timedelta(minutes=2)


async def hand_over(
    session: AsyncSession,
    settings: Settings,
    who: Confirmed,
    *,
    challenge: str,
    user_id: UUID | None,
    now: datetime,
) -> str:
    """Keep what a provider has confirmed for who has the secret of `challenge`; returns the code.

    With a `user_id` it signs that user in, without it links the identity.
    """
    if who.source.provider_id is None:
        raise ValueError("only what a provider has confirmed is handed over")
    await session.execute(delete(IdentityHandover).where(IdentityHandover.expires_at < now))
    code = secrets.token_urlsafe(32)
    session.add(
        IdentityHandover(
            code_hash=secret_hash(code, settings.signing_key),
            challenge=challenge,
            expires_at=now + LIFETIME,
            user_id=user_id,
            provider_id=who.source.provider_id,
            issuer=who.source.issuer,
            subject=who.subject,
            email=who.email,
        )
    )
    return code


async def fetch(
    session: AsyncSession, settings: Settings, code: str, verifier: str, *, links: bool, now: datetime
) -> IdentityHandover:
    """Return what was kept for a client, once. Raises `Unauthenticated` for a code that is not good."""
    purpose = IdentityHandover.user_id.is_(None) if links else IdentityHandover.user_id.is_not(None)
    found = await session.execute(
        delete(IdentityHandover)
        .where(
            IdentityHandover.code_hash.in_([secret_hash(code, key) for key in settings.signing_keys]),
            IdentityHandover.challenge == challenge_of(verifier),
            IdentityHandover.expires_at > now,
            purpose,
        )
        .returning(IdentityHandover)
    )
    row = found.scalar_one_or_none()
    if row is None:
        raise Unauthenticated(
            "This code is not good, not yours, used, or too old. Begin again.", code="WrongCode"
        )
    return row
