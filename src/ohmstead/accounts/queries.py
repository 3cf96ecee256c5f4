"""Reading users."""

from uuid import UUID

from sqlalchemy import ColumnElement, false, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Backoffice, Role, User, UserStatus
from ohmstead.accounts.principal import Principal
from ohmstead.core.paging import Order, Paging, Slice, containing, text_key, time_key, uuid_key

ORDER = Order(
    keys={"email": text_key(User.email), "created_at": time_key(User.created_at)},
    tie=uuid_key(User.id),
    default="email",
)


def managed_by(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the users that somebody may see in the list of users."""
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role is Role.BACKOFFICE and principal.backoffice_id is not None:
        return User.backoffice_id == principal.backoffice_id
    return false()


async def list_users(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    role: Role | None = None,
    status: UserStatus | None = None,
    sort: str | None = None,
) -> Slice[User]:
    """Return a page of the users that the caller manages; `q` searches the e-mail address."""
    query = select(User).where(managed_by(principal), containing(paging.q, User.email))
    if role is not None:
        query = query.where(User.role == role)
    if status is not None:
        query = query.where(User.status == status)
    return await ORDER.slice(session, query, paging, sort)


async def user_with_business(session: AsyncSession, user_id: UUID) -> tuple[User, Backoffice | None]:
    """Return a user that exists and its business."""
    query = (
        select(User, Backoffice)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .where(User.id == user_id)
    )
    return (await session.execute(query)).one()
