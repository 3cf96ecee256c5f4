"""Bearer tokens of a third party: those of a Supabase project, or of an issuer with published keys (JWKS).

Whose a token is, is told by its issuer before any key is looked for: `ohmstead` is ours and never comes here.
HS256 is checked with the secret of the project and nothing else, every other algorithm with a published key.
Who somebody is here, and what it may do, is always said by our own rows.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from joserfc.jwk import OctKey
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import access_tokens
from ohmstead.accounts.access_tokens import AccessClaims
from ohmstead.accounts.oidc_identities import Confirmed, Source, confirmed_by, user_for
from ohmstead.accounts.oidc_issuers import IssuerFault, Issuers
from ohmstead.accounts.signed_tokens import (
    HS256,
    Look,
    TokenFault,
    VerifyingKey,
    check_claims,
    look_at,
    verified,
)
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated, Unavailable

NAME = "The issuer of your token"

logger = logging.getLogger(__name__)


def accepted(settings: Settings) -> bool:
    """Tell whether tokens of somebody else are accepted at all."""
    return settings.supabase_jwt_secret is not None or settings.third_party_jwks_url is not None


def is_theirs(settings: Settings, token: str) -> bool:
    """Tell whether a bearer is to be read as a token of a third party: by its issuer, which is not us."""
    if not accepted(settings):
        return False
    try:
        issuer = look_at(token).issuer
    except TokenFault:
        return False
    return issuer is not None and issuer != access_tokens.ISSUER


async def read(session: AsyncSession, settings: Settings, token: str, now: datetime) -> AccessClaims:
    """Return whose a third party's token is, and when it ends.

    At the first sight of somebody the account is found or made (see `oidc_identities`). Raises
    `Unauthenticated`, and `Unavailable` while the keys cannot be fetched. Nothing has been read from the
    database before the keys are there: no connection waits for the network.
    """
    who, ends = await confirm(session.info["issuers"], settings, token, now)
    known = await user_for(session, who, now)
    return AccessClaims(known.user.id, ends, second_factor=_second_factor(who.claims))


def _second_factor(claims: Mapping[str, Any]) -> bool:
    """Tell whether a token says that a second factor was shown: Supabase's `aal`, or `amr` (RFC 8176)."""
    methods = claims.get("amr")
    return claims.get("aal") == "aal2" or (isinstance(methods, list) and "mfa" in methods)


async def confirm(
    issuers: Issuers, settings: Settings, token: str, now: datetime
) -> tuple[Confirmed, datetime]:
    """Check a token and return who it confirms, and until when. Raises as `read` does."""
    try:
        look = look_at(token)
        issuer = settings.third_party_issuer or look.issuer
        if issuer is None or issuer == access_tokens.ISSUER or look.issuer != issuer:
            raise TokenFault("is of another issuer")
        claims = verified(token, await _key(issuers, settings, look), look.algorithm)
        subject = check_claims(claims, issuer=issuer, audience=settings.third_party_audience, now=now)
        ends = datetime.fromtimestamp(claims["exp"], UTC)
    except (TokenFault, OverflowError, OSError, ValueError) as fault:
        logger.info("a token of a third party is refused: it %s", fault)
        raise Unauthenticated("The access token is not valid or has expired. Sign in again.") from fault
    except IssuerFault as fault:
        raise Unavailable("The issuer of this token does not answer. Try again in a few seconds.") from fault
    if ends <= now:
        raise Unauthenticated("The access token is not valid or has expired. Sign in again.")
    source = Source(
        provider_id=None,
        issuer=issuer,
        name=NAME,
        make_users=settings.third_party_new_users,
        require_verified_email=not settings.third_party_new_users,
    )
    return confirmed_by(source, subject, claims), ends


async def _key(issuers: Issuers, settings: Settings, look: Look) -> VerifyingKey:
    if look.algorithm == HS256:
        if settings.supabase_jwt_secret is None:
            raise TokenFault("is signed by HS256, and there is no secret for that")
        return OctKey.import_key(settings.supabase_jwt_secret.get_secret_value())
    if settings.third_party_jwks_url is None:
        raise TokenFault("is signed by a published key, and none are asked for")
    return await issuers.key(settings.third_party_jwks_url, look)


async def claims_of(session: AsyncSession, settings: Settings, token: str, now: datetime) -> AccessClaims:
    """Return whose a bearer token is, and when it ends, whoever issued it. Raises as `read` does."""
    if is_theirs(settings, token):
        return await read(session, settings, token, now)
    return access_tokens.read(settings, token, now)
