"""Managing users, as far as the live view needs it: who there is, and who may act where."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from ohmstead.accounts import queries, service
from ohmstead.accounts.access import require
from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.schemas import UserChange, UserItem
from ohmstead.core.http import Page, Paging, UnitOfWork
from ohmstead.core.live import LiveBus

router = APIRouter(prefix="/api/admin/users", tags=["users"])

Manager = Annotated[Principal, Depends(require(Role.SYSTEM_ADMIN, Role.BACKOFFICE))]


async def rights_changed(request: Request) -> AsyncIterator[set[UUID]]:
    """Collect the users whose rights a request changes; end their live connections when it has committed.

    Must be the first dependency of its endpoint: what is entered before the unit of work is left
    after it, and a unit of work that fails raises through here, past the loop.
    """
    changed: set[UUID] = set()
    yield changed
    live: LiveBus = request.app.state.live
    for user_id in changed:
        live.drop_user(user_id)


RightsChanged = Annotated[set[UUID], Depends(rights_changed, scope="function")]


@router.get("", response_model=Page[UserItem])
async def list_users(
    *,
    session: UnitOfWork,
    principal: Manager,
    paging: Annotated[Paging, Depends()],
    role: Role | None = None,
    status: UserStatus | None = None,
    sort: Annotated[str, Query(max_length=40, description="`email` or `created_at`, each also with `-`.")] = (
        "email"
    ),
) -> Page[UserItem]:
    """List users: a SystemAdmin sees all, a Backoffice those of its business. `q` searches the e-mail."""
    found = await queries.list_users(session, principal, paging, role=role, status=status, sort=sort)
    items = [UserItem.model_validate(user) for user in found.rows]
    return Page(items=items, next_cursor=found.next_cursor, total=found.total)


@router.put("/{user_id}", response_model=UserItem)
async def change_user(
    *, changed: RightsChanged, user_id: UUID, body: UserChange, session: UnitOfWork, principal: Manager
) -> UserItem:
    """Activate or deactivate a user, or give an Operator its stations; what is absent stays.

    A Backoffice changes the Operators of its own business. The user's live connections end at once
    and have to sign on again.
    """
    done = await service.change_user(
        session, principal, user_id, status=body.status, station_ids=body.operator_station_ids
    )
    if done.rights:
        changed.add(user_id)
    return UserItem.model_validate(done.user)
