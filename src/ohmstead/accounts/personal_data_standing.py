"""Whether somebody has been erased, or is about to be: what is over stays over.

From the request on. Who writes about a person takes the row of its user first (`FOR UPDATE`) and looks then:
so it is before the erasure, which takes that row too, and is erased, or it is refused.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from ohmstead.accounts.models import User, UserStatus
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.core.errors import Conflict, DomainError, Forbidden, Unauthenticated

CODE = "UserErased"


def being_erased(user_id: UUID | InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Return the condition for a user whose erasure is done or has begun, and has not failed for good."""
    return exists().where(
        PersonalDataRequest.user_id == user_id,
        PersonalDataRequest.kind == RequestKind.ERASURE,
        PersonalDataRequest.state != RequestState.FAILED,
    )


async def is_over(session: AsyncSession, user: User) -> bool:
    """Tell whether the account of a user is over; costs a query only where it may be: it is deactivated."""
    return user.status != UserStatus.ACTIVE and bool(await session.scalar(select(being_erased(user.id))))


async def require_not_erased(session: AsyncSession, user: User) -> None:
    """Raise `Conflict` when the account of a user is over."""
    if await is_over(session, user):
        raise _over(Conflict)


async def require_own_not_erased(session: AsyncSession, user_id: UUID) -> None:
    """Raise `Forbidden` for somebody who would change something, and whose own account is over."""
    if await session.scalar(select(being_erased(user_id))):
        raise _over(Forbidden)


async def require_no_end(session: AsyncSession, user: User) -> None:
    """Raise `Unauthenticated` for somebody who has shown who it is, and whose account is over."""
    if await is_over(session, user):
        raise _over(Unauthenticated)


def _over(kind: type[DomainError]) -> DomainError:
    return kind(
        "This account is being erased, or has been: it is over. The person registers anew.", code=CODE
    )
