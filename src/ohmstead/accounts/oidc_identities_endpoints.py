"""`/api/auth/identities`: where else the caller signs in, linked and unlinked by itself."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import oidc_handover, oidc_identities, third_party_tokens
from ohmstead.accounts.access import Caller
from ohmstead.accounts.oidc_identities import Confirmed, Source
from ohmstead.accounts.oidc_models import Identity, IdentityProvider
from ohmstead.accounts.oidc_providers import get_provider
from ohmstead.accounts.oidc_schemas import IdentityOut, LinkIn
from ohmstead.accounts.password_change import WrongPassword, check_password
from ohmstead.accounts.refresh_tokens import end_sessions
from ohmstead.accounts.sign_in import load
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.errors import Invalid
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth/identities", tags=["Auth"])


@router.get("", response_model=list[IdentityOut])
async def list_identities(session: UnitOfWork, principal: Caller) -> list[IdentityOut]:
    """List where else the caller signs in, the oldest first."""
    found = await oidc_identities.identities_of(session, principal.user_id)
    return [_shown(identity, name) for identity, name in found]


@router.post(
    "",
    response_model=IdentityOut,
    responses={
        **refuses(401, "The code or the token is not good, or nobody has signed in."),
        **refuses(409, "It is linked to another account."),
        **refuses(429, "Too many wrong passwords; see `Retry-After`."),
    },
)
async def link_identity(
    *, request: Request, session: UnitOfWork, principal: Caller, now: Now, body: LinkIn
) -> IdentityOut:
    """Link another identity to the account of the caller, by what proves that it is the caller's.

    `code` and `verifier` come from a round with `link=true` (see `GET /api/auth/oidc/{provider_id}/start`);
    `token` is a valid token of a third party. The password is asked for where the account has one: what is
    linked lets in for good. Doing it twice changes nothing.
    """
    state = request.app.state
    address = request.client.host if request.client else ""
    proved = await check_password(
        state.database, state.settings, principal, body.password, address=address, now=now
    )
    if body.token is not None:
        if not third_party_tokens.accepted(state.settings):
            raise Invalid(
                "Tokens of a third party are not accepted here.", fields={"token": "is not accepted"}
            )
        # Nothing has been read yet: no connection waits for the network.
        who, _ = await third_party_tokens.confirm(state.issuers, state.settings, body.token, now)
        name = None
    else:
        who, provider = await _fetched(session, request, body, now)
        name = provider.name
    user, _, _ = await load(session, proved.id)
    if user.password_hash != proved.password_hash:
        raise WrongPassword
    return _shown(await oidc_identities.link(session, state.settings, who, user), name)


async def _fetched(
    session: AsyncSession, request: Request, body: LinkIn, now: datetime
) -> tuple[Confirmed, IdentityProvider]:
    settings = request.app.state.settings
    kept = await oidc_handover.fetch(
        session, settings, body.code or "", body.verifier or "", links=True, now=now
    )
    provider = await get_provider(session, kept.provider_id, enabled=True)
    source = replace(Source.of(provider), issuer=kept.issuer)
    return Confirmed(source, kept.subject, kept.email, False, {}), provider


@router.delete("/{identity_id}", status_code=204, responses=refuses(409, "It is the only way in."))
async def unlink_identity(
    *,
    changed: RightsChanged,
    session: UnitOfWork,
    principal: Caller,
    identity_id: Annotated[UUID, Path(description="The id of an identity of the caller.")],
) -> None:
    """Unlink an identity, unless the account has neither a password nor another one.

    Every other device is signed out: somebody may have come in by it.
    """
    await oidc_identities.unlink(session, principal.user_id, identity_id)
    await end_sessions(session, principal.user_id, but=principal.session_id)
    changed.add(principal.user_id)


def _shown(identity: Identity, provider_name: str | None) -> IdentityOut:
    return IdentityOut(
        id=identity.id,
        provider_id=identity.provider_id,
        provider_name=provider_name,
        issuer=identity.issuer,
        subject=identity.subject,
        email=identity.email,
        created_at=identity.created_at,
        last_login_at=identity.last_login_at,
    )
