"""API keys: what machines sign in with."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts import api_keys
from ohmstead.accounts.access import Caller
from ohmstead.accounts.api_keys_schemas import ApiKeyChange, ApiKeyIn, ApiKeyOut, NewApiKey, changes_of
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging

router = APIRouter(prefix="/api/admin/api-keys", tags=["API keys"])

KeyId = Annotated[UUID, Path(description="The id of an API key; not the key itself.")]
REVOKED = refuses(409, "The key was revoked.")


@router.get("", response_model=Page[ApiKeyOut])
async def list_api_keys(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    revoked: Annotated[bool | None, Query(description="Only those that were revoked, or were not.")] = None,
    sort: Annotated[
        str, Query(max_length=40, description="`created_at` or `name`, each also with `-`.")
    ] = "-created_at",
) -> Page[ApiKeyOut]:
    """List the keys of the caller's business, for a SystemAdmin all; the newest first."""
    found = await api_keys.list_keys(session, principal, paging, revoked=revoked, sort=sort)
    return found.page(ApiKeyOut.model_validate(row) for row in found.rows)


@router.post("", status_code=201, response_model=NewApiKey)
async def create_api_key(
    request: Request, body: ApiKeyIn, session: UnitOfWork, principal: Caller, now: Now
) -> NewApiKey:
    """Make a key. The answer is the only place where it is ever shown whole.

    It is sent as `Authorization: Bearer ohm_...` or as `X-API-Key: ohm_...`.
    """
    settings = request.app.state.settings
    row, key = await api_keys.create_key(session, settings, principal, now=now, **body.model_dump())
    return NewApiKey(**ApiKeyOut.model_validate(row).model_dump(), key=key)


@router.get("/{key_id}", response_model=ApiKeyOut)
async def get_api_key(key_id: KeyId, session: UnitOfWork, principal: Caller) -> ApiKeyOut:
    """Get one key, as it may be shown."""
    return ApiKeyOut.model_validate(await api_keys.find_key(session, principal, key_id))


@router.put("/{key_id}", response_model=ApiKeyOut, responses=REVOKED)
async def change_api_key(
    *,
    changed: RightsChanged,
    key_id: KeyId,
    body: ApiKeyChange,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
) -> ApiKeyOut:
    """Change what a key is called, may do, and where; it takes effect at once."""
    row = await api_keys.change_key(session, principal, key_id, changes_of(body), now)
    changed.add(row.id)
    return ApiKeyOut.model_validate(row)


@router.delete("/{key_id}", status_code=204)
async def revoke_api_key(
    *, changed: RightsChanged, key_id: KeyId, session: UnitOfWork, principal: Caller, now: Now
) -> None:
    """Revoke a key: it is refused from now on, and its live connections end. It stays in the list."""
    await api_keys.revoke_key(session, principal, key_id, now)
    changed.add(key_id)
