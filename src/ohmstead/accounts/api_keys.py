"""Making, changing and revoking the keys of machines."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.api_keys_access import role_of_key
from ohmstead.accounts.api_keys_models import ApiKey
from ohmstead.accounts.api_keys_secrets import SHOWN, new_key
from ohmstead.accounts.audit import record
from ohmstead.accounts.business_stations import require_own_stations
from ohmstead.accounts.models import Backoffice, Role
from ohmstead.accounts.passwords import secret_hash
from ohmstead.accounts.permissions import PERMISSIONS
from ohmstead.accounts.principal import Principal
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, Forbidden, Invalid, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, text_key, time_key, uuid_key

ORDER = Order(
    keys={"created_at": time_key(ApiKey.created_at), "name": text_key(ApiKey.name)},
    tie=uuid_key(ApiKey.id),
    default="-created_at",
)


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the keys that somebody may see: all, or those of the own business."""
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role is Role.BACKOFFICE and principal.backoffice_id is not None:
        return ApiKey.backoffice_id == principal.backoffice_id
    return false()


async def list_keys(
    session: AsyncSession, principal: Principal, paging: Paging, *, revoked: bool | None, sort: str | None
) -> Slice[ApiKey]:
    """Return a page of the caller's keys; `q` searches names and how keys begin."""
    query = select(ApiKey).where(visible_to(principal), containing(paging.q, ApiKey.name, ApiKey.begins_with))
    if revoked is not None:
        query = query.where(ApiKey.revoked_at.is_not(None) if revoked else ApiKey.revoked_at.is_(None))
    return await ORDER.slice(session, query, paging, sort)


async def find_key(
    session: AsyncSession, principal: Principal, key_id: UUID, *, locked: bool = False
) -> ApiKey:
    """Return a key of the caller's business; `locked` holds it. Raises `NotFound`."""
    query = select(ApiKey).where(ApiKey.id == key_id, visible_to(principal))
    row: ApiKey | None = await session.scalar(query.with_for_update() if locked else query)
    if row is None:
        raise NotFound("There is no such API key.", code="ApiKeyNotFound")
    return row


async def create_key(
    session: AsyncSession,
    settings: Settings,
    principal: Principal,
    *,
    name: str,
    permissions: Collection[str],
    station_ids: Collection[UUID],
    expires_at: datetime | None,
    backoffice_id: UUID | None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key; return it and the key itself, which is kept nowhere.

    It is a Backoffice's for its business, a SystemAdmin's for any or for the whole installation. Raises
    `Forbidden` for another business, `Invalid` for what it could never use.
    """
    key = new_key()
    row = ApiKey(
        id=uuid4(),
        backoffice_id=await _business(session, principal, backoffice_id),
        name=name,
        begins_with=key[:SHOWN],
        key_hash=secret_hash(key, settings.signing_key),
        permissions=sorted(set(permissions)),
        station_ids=sorted(set(station_ids)),
        created_by=principal.user_id,
        created_at=now,
        expires_at=expires_at,
    )
    await _check(session, row, now)
    session.add(row)
    await session.flush()
    await _tell(session, "api_key.created", row, after=_told(row))
    return row, key


async def change_key(
    session: AsyncSession, principal: Principal, key_id: UUID, changes: Mapping[str, Any], now: datetime
) -> ApiKey:
    """Change `name`, `permissions`, `station_ids`, `expires_at` of a key that is not revoked."""
    row = await find_key(session, principal, key_id, locked=True)
    if row.revoked_at is not None:
        raise Conflict("This API key was revoked. Make a new one.", code="ApiKeyRevoked")
    before = _told(row)
    for name, value in changes.items():
        setattr(row, name, sorted(set(value)) if isinstance(value, list) else value)
    await _check(session, row, now, expires="expires_at" in changes)
    await session.flush()
    if before != _told(row):
        await _tell(session, "api_key.updated", row, before=before, after=_told(row))
    return row


async def revoke_key(session: AsyncSession, principal: Principal, key_id: UUID, now: datetime) -> None:
    """Let a key be refused from now on, for good. Revoked twice it stays as it was."""
    row = await find_key(session, principal, key_id, locked=True)
    if row.revoked_at is None:
        row.revoked_at = now
        await session.flush()
        await _tell(session, "api_key.revoked", row, before={"revoked": False}, after={"revoked": True})


async def _business(session: AsyncSession, principal: Principal, backoffice_id: UUID | None) -> UUID | None:
    """Return whose key it will be."""
    if principal.role is not Role.SYSTEM_ADMIN:
        if backoffice_id not in {None, principal.backoffice_id}:
            raise Forbidden("You can make API keys for your own business only.")
        return principal.backoffice_id
    if backoffice_id is not None and await session.get(Backoffice, backoffice_id) is None:
        raise Invalid("There is no such business.", fields={"backoffice_id": "unknown"})
    return backoffice_id


async def _check(session: AsyncSession, row: ApiKey, now: datetime, *, expires: bool = True) -> None:
    """Raise `Invalid` for a key that could not do what it says."""
    if row.station_ids and row.backoffice_id is None:
        raise Invalid(
            "A key for some stations is that of their business: name it.",
            fields={"backoffice_id": "is needed with station_ids"},
        )
    await require_own_stations(
        session,
        row.backoffice_id,
        row.station_ids,
        field="station_ids",
        rule="A key is for stations of its own business.",
    )
    role = role_of_key(row)
    beyond = [name for name in row.permissions if role not in PERMISSIONS[name].roles]
    if beyond:
        raise Invalid(
            f"A key for some stations has the rights of an Operator, without {', '.join(beyond)}."
            if row.station_ids
            else f"A key of a business has not the rights of a SystemAdmin: {', '.join(beyond)}.",
            fields={"permissions": f"not for this key: {', '.join(beyond)}"},
        )
    if expires and row.expires_at is not None and row.expires_at <= now:
        raise Invalid("The key would be over already.", fields={"expires_at": "must lie in the future"})


def _told(row: ApiKey) -> dict[str, Any]:
    """Return what the audit trail says of a key; never anything of the key itself."""
    return {
        "name": row.name,
        "permissions": row.permissions,
        "station_ids": row.station_ids,
        "expires_at": row.expires_at,
    }


async def _tell(session: AsyncSession, action: str, row: ApiKey, **told: Any) -> None:
    await record(session, action, entity="api_key", entity_id=row.id, backoffice_id=row.backoffice_id, **told)
