"""`/api/admin/identity-providers`: which providers are trusted, and what their word is good for."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy import select

from ohmstead.accounts import oidc_providers
from ohmstead.accounts.access import Caller
from ohmstead.accounts.oidc_models import IdentityProvider
from ohmstead.accounts.oidc_rounds import redirect_uri
from ohmstead.accounts.oidc_schemas import ProviderChange, ProviderIn, ProviderOut
from ohmstead.core.config import Settings
from ohmstead.core.http import UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Order, Page, Paging, containing, text_key, time_key, uuid_key

router = APIRouter(prefix="/api/admin/identity-providers", tags=["Identity providers"])

ProviderId = Annotated[UUID, Path(description="The id of an identity provider.")]
Sort = Annotated[str, Query(max_length=40, description="`name` or `created_at`, each also with `-`.")]
ORDER = Order(
    keys={"name": text_key(IdentityProvider.name), "created_at": time_key(IdentityProvider.created_at)},
    tie=uuid_key(IdentityProvider.id),
    default="name",
)
TAKEN = refuses(409, "A provider has this name already.")


@router.get("")
async def list_identity_providers(
    *,
    request: Request,
    session: UnitOfWork,
    _: Caller,
    paging: Annotated[Paging, Depends()],
    sort: Sort = "name",
) -> Page[ProviderOut]:
    """List the providers; `q` searches names and issuers."""
    query = select(IdentityProvider).where(
        containing(paging.q, IdentityProvider.name, IdentityProvider.issuer)
    )
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(_shown(request.app.state.settings, row) for row in found.rows)


@router.post("", status_code=201, responses=TAKEN)
async def create_identity_provider(
    *, request: Request, session: UnitOfWork, _: Caller, body: ProviderIn
) -> ProviderOut:
    """Make a provider. Its issuer is asked for its configuration at once.

    `redirect_uri` of the answer is what the provider has to know of us.
    """
    state = request.app.state
    await oidc_providers.check_issuer(state.issuers, body.issuer)  # nothing has been read yet
    return _shown(state.settings, await oidc_providers.create_provider(session, state.settings, body))


@router.get("/{provider_id}")
async def show_identity_provider(
    *, request: Request, session: UnitOfWork, _: Caller, provider_id: ProviderId
) -> ProviderOut:
    """Show one provider. The secret is never shown."""
    return _shown(request.app.state.settings, await oidc_providers.get_provider(session, provider_id))


@router.put("/{provider_id}", responses=TAKEN)
async def change_identity_provider(
    *, request: Request, session: UnitOfWork, _: Caller, provider_id: ProviderId, body: ProviderChange
) -> ProviderOut:
    """Change a provider; what is absent stays. Another issuer is asked for its configuration at once.

    Who is linked by the old issuer is not known by the new one.
    """
    state = request.app.state
    await oidc_providers.check_issuer(state.issuers, body.issuer)
    changed = await oidc_providers.change_provider(session, state.settings, provider_id, body)
    return _shown(state.settings, changed)


@router.delete("/{provider_id}", status_code=204)
async def delete_identity_provider(*, session: UnitOfWork, _: Caller, provider_id: ProviderId) -> None:
    """Delete a provider and all links to it. The accounts stay: who has no password has to ask for one."""
    await oidc_providers.delete_provider(session, provider_id)


def _shown(settings: Settings, provider: IdentityProvider) -> ProviderOut:
    columns = {
        name: getattr(provider, name)
        for name in ProviderOut.model_fields
        if name not in {"has_secret", "redirect_uri"}
    }
    return ProviderOut(
        **columns,
        has_secret=provider.secret is not None,
        redirect_uri=redirect_uri(settings, provider.id),
    )
