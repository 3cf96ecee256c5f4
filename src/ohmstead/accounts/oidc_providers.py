"""The providers that are trusted: made, changed and deleted by a SystemAdmin."""

from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.models import BUSINESS_ROLES, Role
from ohmstead.accounts.oidc_issuers import IssuerFault, Issuers
from ohmstead.accounts.oidc_models import IdentityProvider
from ohmstead.accounts.oidc_schemas import ProviderChange, ProviderIn
from ohmstead.accounts.passwords import derive_key
from ohmstead.accounts.person_keys import seal, unsealed_by_any
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, DomainError, Invalid, NotFound


async def check_issuer(issuers: Issuers, issuer: str | None) -> None:
    """Ask an issuer for its configuration; raise `Invalid` with what is wrong with it. None is not asked."""
    if issuer is None:
        return
    try:
        await issuers.discover(issuer)
    except IssuerFault as fault:
        raise Invalid(
            f"This issuer cannot be used: {fault}. A provider in your own network must lie in"
            " OHMSTEAD_OUTBOUND_ALLOW.",
            fields={"issuer": str(fault)},
        ) from fault


async def get_provider(
    session: AsyncSession, provider_id: UUID, *, enabled: bool = False, lock: bool = False
) -> IdentityProvider:
    """Return a provider. Raises `NotFound`; with `enabled` for one that is switched off too."""
    provider = await session.get(IdentityProvider, provider_id, with_for_update=lock or None)
    if provider is None or (enabled and not provider.enabled):
        raise NotFound("There is no such identity provider.", code="IdentityProviderNotFound")
    return provider


async def providers_to_choose(session: AsyncSession) -> list[IdentityProvider]:
    """Return the providers that people may sign in at, by name."""
    query = select(IdentityProvider).where(IdentityProvider.enabled).order_by(IdentityProvider.name)
    return list(await session.scalars(query))


async def create_provider(session: AsyncSession, settings: Settings, wanted: ProviderIn) -> IdentityProvider:
    """Make a provider. Raises `Conflict` for a name that is taken, and `Invalid`."""
    provider = IdentityProvider(id=uuid4(), **wanted.model_dump(exclude={"client_secret"}, mode="python"))
    _set_secret(settings, provider, wanted.client_secret)
    _check(provider)
    async with refusing(session, _refusals()):
        session.add(provider)
    await session.refresh(provider)
    await record_row(session, "identity_provider.created", provider)
    return provider


async def change_provider(
    session: AsyncSession, settings: Settings, provider_id: UUID, change: ProviderChange
) -> IdentityProvider:
    """Change what is given of a provider and keep the rest. Raises `NotFound`, `Conflict`, `Invalid`."""
    provider = await get_provider(session, provider_id, lock=True)
    before = state(provider)
    async with refusing(session, _refusals()):
        for name, value in change.given().items():
            if name == "client_secret":
                _set_secret(settings, provider, value)
            elif name == "role_rules":
                provider.role_rules = [rule.model_dump(mode="json") for rule in value]
            else:
                setattr(provider, name, value)
        _check(provider)
    await session.refresh(provider)
    await record_row(session, "identity_provider.updated", provider, before)
    return provider


async def delete_provider(session: AsyncSession, provider_id: UUID) -> None:
    """Delete a provider with all links to it; the accounts stay. Raises `NotFound`."""
    provider = await get_provider(session, provider_id, lock=True)
    await record_row(session, "identity_provider.deleted", provider, gone=True)
    await session.delete(provider)


def _check(provider: IdentityProvider) -> None:
    roles = {Role(rule["role"]) for rule in provider.role_rules}
    if Role.SYSTEM_ADMIN in roles and not provider.allow_system_admin:
        raise Invalid(
            "A rule gives SystemAdmin, which this provider may not. Set `allow_system_admin` if it shall.",
            fields={"role_rules": "gives SystemAdmin without `allow_system_admin`"},
        )
    if roles & BUSINESS_ROLES and provider.backoffice_id is None:
        raise Invalid(
            "A rule makes staff of a business: name the business by `backoffice_id`.",
            fields={"backoffice_id": "is needed"},
        )


def _refusals() -> dict[str, DomainError]:
    return {
        "uq_accounts_identity_provider_name": Conflict(
            "There is a provider of this name already.", code="IdentityProviderExists"
        ),
        "fk_accounts_identity_provider_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
    }


# --- the secret of our client there


def _set_secret(settings: Settings, provider: IdentityProvider, secret: str | None) -> None:
    if secret is None:
        provider.secret = None
        return
    key = sealing_key(settings.signing_key)
    provider.secret = seal(key, secret.encode(), context_of(provider.id))


def secret_of(settings: Settings, provider: IdentityProvider) -> str | None:
    """Return the secret of our client at a provider; None when it has none.

    Raises `IssuerFault` when no live secret of this server opens it.
    """
    if provider.secret is None:
        return None
    keys = (sealing_key(key) for key in settings.signing_keys)
    try:
        return unsealed_by_any(keys, provider.secret, context_of(provider.id)).decode()
    except ValueError as error:
        fault = f"no secret of this server opens the client secret of {provider.name}: set it again"
        raise IssuerFault(fault) from error


def sealing_key(key: str) -> bytes:
    """Return the key that encrypts the secrets of our clients, made from a secret of the server."""
    return derive_key(key, "identity-provider")


def context_of(provider_id: UUID) -> bytes:
    """Return what binds a secret to its row: moved to another one it is worth nothing."""
    return f"identity provider {provider_id}".encode()
