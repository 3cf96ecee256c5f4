"""Making, changing and deleting id tags (the tables call them tokens)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.cards import take_away
from ohmstead.accounts.cards_standing import stop
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.id_tags_queries import find_id_tag, not_found
from ohmstead.accounts.models import Role, Token, TokenStatus, User
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, DomainError, Forbidden, Invalid

KEPT_BY_CARDS = ("id_tag", "backoffice_id")
"""What of a driver's card is not changed: by its tag an erasure finds what it did."""


async def create_id_tag(
    session: AsyncSession,
    principal: Principal,
    *,
    id_tag: str,
    now: datetime,
    status: TokenStatus = TokenStatus.ACCEPTED,
    expires_at: datetime | None = None,
    parent_id_tag: str | None = None,
    owner: str | None = None,
    max_concurrent_sessions: int | None = None,
    backoffice_id: UUID | None = None,
) -> Token:
    """Make an id tag: a Backoffice's for its business, a SystemAdmin's for any (None = everywhere).

    Raises `Conflict` when the business (or the world) has the tag in any case, `Forbidden` for
    another business, `Invalid` for one that does not exist.
    """
    if principal.role is not Role.SYSTEM_ADMIN:
        backoffice_id = backoffice_id or principal.backoffice_id
        _check_business(principal, backoffice_id)
    token = Token(
        id_tag=id_tag,
        status=status,
        expires_at=expires_at,
        parent_id_tag=parent_id_tag,
        owner=owner,
        max_concurrent_sessions=max_concurrent_sessions,
        backoffice_id=backoffice_id,
        created_at=now,
        updated_at=now,
    )
    async with refusing(session, _refusals(id_tag)):
        session.add(token)
    await record_row(session, "id_tag.created", token, person_id=person_of(token))
    return token


async def change_id_tag(
    session: AsyncSession, principal: Principal, name: str, *, changes: Mapping[str, Any], now: datetime
) -> Token:
    """Change the named columns of a tag, and nothing else.

    The status of a driver's card is kept apart from what its driver says of it: `Accepted` lifts what was set
    here, and not what the driver has blocked. Such a card keeps its tag and works everywhere.
    Raises as `create_id_tag` does, `NotFound` for a tag outside of the caller's scope, and `Conflict` for
    what a driver's card keeps, and for that of somebody who is erased.
    """
    token = await _held(session, await find_id_tag(session, principal, name))
    kept = {} if token.driver_id is None else {column: getattr(token, column) for column in KEPT_BY_CARDS}
    if any(changes.get(column, value) != value for column, value in kept.items()):
        raise Conflict(
            "This is a driver's card: it keeps its tag, and works at every charger. Leave both out.",
            code="CardOfDriver",
        )
    before = state(token)
    if "backoffice_id" in changes:
        _check_business(principal, changes["backoffice_id"])
    async with refusing(session, _refusals(changes.get("id_tag", token.id_tag))):
        for column, value in changes.items():
            setattr(token, column, value)
        if token.driver_id is not None and "status" in changes:
            stop(token, changes["status"])
        token.updated_at = now
        # Equal to what was there, it would be left to the database, whose clock is another one.
        flag_modified(token, "updated_at")
    await record_row(session, "id_tag.updated", token, before, person_id=person_of(token))
    return token


async def delete_id_tag(session: AsyncSession, principal: Principal, name: str) -> None:
    """Delete a tag; sessions that it began keep its text.

    A driver's card that has charged is only kept out of sight: its sessions stay its driver's. Raises
    `NotFound`, and `Conflict` for the card of somebody who is erased.
    """
    token = await _held(session, await find_id_tag(session, principal, name))
    await record_row(session, "id_tag.deleted", token, gone=True, person_id=person_of(token))
    if token.driver_id is not None:
        await take_away(session, token)
    else:
        await session.delete(token)
        await session.flush()


async def _held(session: AsyncSession, token: Token) -> Token:
    """Return a tag as it is now, held until the commit; of a driver's card its driver is held first.

    Raises `NotFound` for one that is gone by now, and `Conflict` for the card of somebody who is erased.
    """
    if token.driver_id is not None:
        await require_not_erased(session, await session.get_one(User, token.driver_id, with_for_update=True))
    held = await session.get(Token, token.id, with_for_update=True, populate_existing=True)
    if held is None:
        raise not_found()
    return held


def person_of(token: Token) -> UUID:
    """Return with whose key the audit trail keeps what it says of a tag: its driver's, else its own."""
    return token.driver_id or token.id


def _check_business(principal: Principal, backoffice_id: UUID | None) -> None:
    if principal.role is not Role.SYSTEM_ADMIN and backoffice_id != principal.backoffice_id:
        raise Forbidden("Your id tags belong to your own business. Leave backoffice_id out.")


def _refusals(id_tag: str) -> dict[str, DomainError]:
    return {
        "uq_accounts_token_id_tag": Conflict(f"The id tag {id_tag} exists already."),
        "fk_accounts_token_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
    }
