"""Reading id tags."""

from uuid import UUID

from sqlalchemy import ColumnElement, false, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role, Token, TokenStatus
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, text_key, time_key, uuid_key

ORDER = Order(
    keys={"id_tag": text_key(func.lower(Token.id_tag)), "created_at": time_key(Token.created_at)},
    tie=uuid_key(Token.id),
    default="id_tag",
)

LONGEST_TAG = 20


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the tags that somebody may see: all, or those of the own business.

    Tags that work everywhere are the SystemAdmin's; a business sees what it can change.
    """
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role in {Role.BACKOFFICE, Role.OPERATOR} and principal.backoffice_id is not None:
        return Token.backoffice_id == principal.backoffice_id
    return false()


async def list_id_tags(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    status: TokenStatus | None = None,
    backoffice_id: UUID | None = None,
    sort: str | None = None,
) -> Slice[Token]:
    """Return a page of tags in the caller's scope; `q` searches tag, parent and owner."""
    query = select(Token).where(
        visible_to(principal), containing(paging.q, Token.id_tag, Token.parent_id_tag, Token.owner)
    )
    if status is not None:
        query = query.where(Token.status == status)
    if backoffice_id is not None:
        query = query.where(Token.backoffice_id == backoffice_id)
    return await ORDER.slice(session, query, paging, sort)


async def find_id_tag(session: AsyncSession, principal: Principal, name: str) -> Token:
    """Return the tag that a path names, by its text in any case or by its id.

    Several businesses may have a tag of the same text: a SystemAdmin gets the one that works
    everywhere. Raises `NotFound`, and `Conflict` when only the id can tell which one is meant.
    """
    query = select(Token).where(visible_to(principal))
    if len(name) > LONGEST_TAG:
        try:
            query = query.where(Token.id == UUID(name))
        except ValueError as error:
            raise not_found() from error
    elif "\x00" in name:
        raise not_found()
    else:
        query = query.where(func.lower(Token.id_tag) == func.lower(name))
    everywhere_first = query.order_by(Token.backoffice_id.is_not(None)).limit(2)
    found = (await session.execute(everywhere_first)).scalars().all()
    if not found:
        raise not_found()
    if len(found) > 1 and found[0].backoffice_id is not None:
        raise Conflict("Several businesses have this id tag. Name it by its id.")
    return found[0]


def not_found() -> NotFound:
    """Return the refusal of a tag that there is not, or that the caller does not see."""
    return NotFound("There is no such id tag.")
