"""Managing users, as far as the live view needs it: who there is, and who may act where."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts import queries, service
from ohmstead.accounts.access import Caller
from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.schemas import UserChange, UserItem
from ohmstead.core.http import UnitOfWork
from ohmstead.core.live import LiveBus
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging

router = APIRouter(prefix="/api/admin/users", tags=["Users"])


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
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    role: Annotated[Role | None, Query(description="Only users with this role.")] = None,
    status: Annotated[UserStatus | None, Query(description="Only users with this status.")] = None,
    sort: Annotated[str, Query(max_length=40, description="`email` or `created_at`, each also with `-`.")] = (
        "email"
    ),
) -> Page[UserItem]:
    """List users: a SystemAdmin sees all, a Backoffice those of its business. `q` searches the e-mail."""
    found = await queries.list_users(session, principal, paging, role=role, status=status, sort=sort)
    return found.page(UserItem.model_validate(user) for user in found.rows)


@router.put(
    "/{user_id}", response_model=UserItem, responses=refuses(409, "Nobody deactivates the own account.")
)
async def change_user(
    *,
    changed: RightsChanged,
    user_id: Annotated[UUID, Path(description="The id of a user.")],
    body: UserChange,
    session: UnitOfWork,
    principal: Caller,
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
