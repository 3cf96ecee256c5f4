"""Reading users."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Backoffice, User


async def user_with_business(session: AsyncSession, user_id: UUID) -> tuple[User, Backoffice | None]:
    """Return a user that exists and its business."""
    query = (
        select(User, Backoffice)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .where(User.id == user_id)
    )
    return (await session.execute(query)).one()
