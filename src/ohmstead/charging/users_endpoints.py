"""`/api/admin/users/{id}/sessions`: what a driver has charged."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path

from ohmstead.accounts.access import Caller
from ohmstead.accounts.users_queries import find_user
from ohmstead.charging import queries
from ohmstead.charging.schemas import TransactionOut
from ohmstead.core.http import UnitOfWork
from ohmstead.core.paging import Page, Paging

router = APIRouter(prefix="/api/admin/users", tags=["Users"])


@router.get("/{user_id}/sessions")
async def list_sessions_of_user(
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    user_id: Annotated[UUID, Path(description="The id of a user.")],
) -> Page[TransactionOut]:
    """List the charging sessions of a driver, newest first; a Backoffice sees those at its own chargers."""
    user = await find_user(session, principal, user_id)
    found = await queries.sessions_of_driver(session, principal, user.id, paging)
    return found.page(TransactionOut.model_validate(row) for row in found.rows)
