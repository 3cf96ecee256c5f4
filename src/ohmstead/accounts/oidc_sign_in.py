"""Signing in at a provider: what it says is fetched, checked to the letter, and made somebody here.

No unit of work is open while a provider is awaited. Why somebody is refused is in the log only.
"""

import base64
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

import structlog
from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import second_factor
from ohmstead.accounts.access import check_standing, check_verified, debt_of
from ohmstead.accounts.oidc_identities import Confirmed, Source, confirmed_by
from ohmstead.accounts.oidc_issuers import Configuration, IssuerFault, Issuers
from ohmstead.accounts.oidc_models import IdentityProvider, UsedSignIn
from ohmstead.accounts.oidc_providers import secret_of
from ohmstead.accounts.oidc_roles import claim_of
from ohmstead.accounts.oidc_rounds import LIFETIME, Round, RoundOver, redirect_uri
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.refresh_tokens import Client, open_session
from ohmstead.accounts.sign_in import SignedInUser, load
from ohmstead.accounts.signed_tokens import (
    CLOCKS_DIFFER_SECONDS,
    HS256,
    TokenFault,
    check_claims,
    look_at,
    verified,
)
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated, Unavailable

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Return:
    """What a provider sent back with somebody: a code, or an error, and its name when it says it."""

    code: str | None
    error: str | None
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A round that has come back, and the provider that is to confirm who came."""

    issuers: Issuers
    settings: Settings
    provider: IdentityProvider
    round: Round
    now: datetime

    async def of(self, back: Return) -> Confirmed:
        """Fetch and check what the provider says of somebody who has come back from it.

        Raises `Unauthenticated` (`AccessDenied`, `SignInRefused`) and `Unavailable`.
        """
        name = self.provider.name
        try:
            configuration = await self.issuers.configuration(self.provider.issuer)
            code = _code_of(configuration, back)
            told = await self._fetch_tokens(configuration, code)
            claims = await self._id_token(configuration, told.get("id_token"))
            claims = await self._with_userinfo(configuration, claims, told.get("access_token"))
        except TokenFault as fault:
            logger.warning("oidc.refused", provider=name, why=str(fault))
            raise Unauthenticated(
                f"{name} did not confirm who you are. Try again, or tell your administrator.",
                code="SignInRefused",
            ) from fault
        except IssuerFault as fault:
            logger.warning("oidc.failed", provider=name, why=str(fault))
            raise unavailable(name) from fault
        return confirmed_by(Source.of(self.provider), claims["sub"], claims)

    async def _fetch_tokens(self, configuration: Configuration, code: str) -> dict[str, Any]:
        """Exchange the code (OpenID Connect Core 3.1.3.1)."""
        client_id, secret = self.provider.client_id, secret_of(self.settings, self.provider)
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri(self.settings, self.provider.id),
            "code_verifier": self.round.verifier,
        }
        headers = {}
        if secret is None:
            form["client_id"] = client_id
        elif configuration.by_post:
            form |= {"client_id": client_id, "client_secret": secret}
        else:  # RFC 6749 2.3.1: each part is encoded as in a form, before it becomes a name or a password
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return await self.issuers.ask(configuration.token_endpoint, form, headers)

    async def _id_token(self, configuration: Configuration, token: Any) -> dict[str, Any]:
        """Return the claims of an ID token after every check of OpenID Connect Core 3.1.3.7."""
        if not isinstance(token, str):
            raise TokenFault("brings no ID token")
        look = look_at(token)
        if look.algorithm == HS256:
            raise TokenFault("is signed by HS256, which proves nothing to others")
        claims = verified(token, await self.issuers.key(configuration.jwks_uri, look), look.algorithm)
        client_id = self.provider.client_id
        check_claims(claims, issuer=configuration.issuer, audience=client_id, now=self.now)
        party = claims.get("azp")
        alone = claims["aud"] in (client_id, [client_id])
        if party != client_id and (party is not None or not alone):
            raise TokenFault("was issued for another client (azp)")
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), self.round.nonce.encode()):
            raise TokenFault("belongs to another sign-in (nonce)")
        if claims["iat"] < self.round.begun_at.timestamp() - CLOCKS_DIFFER_SECONDS:
            raise TokenFault("is older than this sign-in (iat)")
        return claims

    async def _with_userinfo(
        self, configuration: Configuration, claims: dict[str, Any], access_token: Any
    ) -> dict[str, Any]:
        """Ask for claims that the ID token lacks (OpenID Connect Core 5.3); what it says itself stands."""
        wanted = {"email", *(rule["claim"] for rule in self.provider.role_rules)}
        complete = all(claim_of(claims, name) is not None for name in wanted)
        if complete or configuration.userinfo_endpoint is None or not isinstance(access_token, str):
            return claims
        if not (access_token.isascii() and access_token.isprintable()):
            raise TokenFault("comes with an access token that is none")
        headers = {"Authorization": f"Bearer {access_token}"}
        told = await self.issuers.ask(configuration.userinfo_endpoint, headers=headers)
        if told.get("sub") != claims["sub"]:
            raise TokenFault("comes with what is said of another subject (userinfo)")
        return {**told, **claims}


def unavailable(name: str) -> Unavailable:
    """Return the refusal while a provider does not do its part."""
    return Unavailable(
        f"{name} does not answer as it should. Try again in a few seconds.", code="ProviderUnavailable"
    )


def _code_of(configuration: Configuration, back: Return) -> str:
    """Return the code that somebody came back with, from this issuer and no other (RFC 9207 2.4)."""
    if back.issuer != configuration.issuer and (back.issuer is not None or configuration.names_itself):
        raise TokenFault("came back from another issuer")
    if back.error == "access_denied":
        raise Unauthenticated("You did not agree to sign in there.", code="AccessDenied")
    if back.error is not None or back.code is None:
        raise TokenFault(f"came back without a code: {(back.error or '')[:60]}")
    return back.code


async def use_up(session: AsyncSession, one: Round, now: datetime) -> None:
    """Use a round up. Raises `RoundOver` when it was before, by whichever process.

    Its own key makes the hash: that stays the same when the secret of the server is changed meanwhile.
    """
    await session.execute(delete(UsedSignIn).where(UsedSignIn.expires_at < now))
    used = await session.execute(
        insert(UsedSignIn)
        .values(state_hash=secret_hash(one.state, one.key), expires_at=one.begun_at + LIFETIME)
        .on_conflict_do_nothing()
        .returning(UsedSignIn.state_hash)
    )
    if used.first() is None:
        raise RoundOver


async def enter(
    session: AsyncSession, settings: Settings, user_id: UUID, *, client: Client, now: datetime
) -> SignedInUser:
    """Open a session for a user whom a provider has confirmed.

    Raises `Unauthenticated` when it may not act, and `SecondFactorRequired` when it has a second factor here:
    that is asked for whatever the provider did.
    """
    user, business, nic = await load(session, user_id)
    check_standing(user, business)
    check_verified(settings, user)
    if await second_factor.in_use(session, user.id) is not None:
        raise second_factor.challenged(settings, user, client.refresh_by, now)
    opened = await open_session(session, settings, user, client=client, now=now)
    return SignedInUser(opened, nic, client.refresh_by, debt_of(settings, user, second_factor=False))
