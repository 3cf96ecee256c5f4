"""`/api/admin/users`: who there is, who may do what, and inviting staff."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request

from ohmstead.accounts import users as service
from ohmstead.accounts import users_queries as queries
from ohmstead.accounts.access import Caller
from ohmstead.accounts.audit_endpoints import ORDER as TRAIL
from ohmstead.accounts.audit_endpoints import AuditEntryOut, readable
from ohmstead.accounts.id_tags_schemas import IdTagItem
from ohmstead.accounts.limits import Subject, limited_caller, take
from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.users_schemas import (
    SecondFactorGone,
    SecondFactorReset,
    SignInOut,
    UserChange,
    UserInvite,
    UserItem,
)
from ohmstead.core.http import Now, UnitOfWork
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
UserId = Annotated[UUID, Path(description="The id of a user.")]


@router.get("", response_model=Page[UserItem])
async def list_users(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    role: Annotated[Role | None, Query(description="Only users with this role.")] = None,
    status: Annotated[UserStatus | None, Query(description="Only users with this status.")] = None,
    backoffice_id: Annotated[UUID | None, Query(description="Only users of this business.")] = None,
    sort: Annotated[str, Query(max_length=40, description="`email` or `created_at`, each also with `-`.")] = (
        "email"
    ),
) -> Page[UserItem]:
    """List users; `q` searches e-mail, name and NIC.

    A SystemAdmin sees all, a Backoffice those of its business and the drivers that have charged with it.
    """
    found = await queries.list_users(
        session, principal, paging, role=role, status=status, backoffice_id=backoffice_id, sort=sort
    )
    return found.page(await queries.shown(session, found.rows))


@router.post(
    "",
    status_code=201,
    responses=refuses(409, "The e-mail address has an account."),
    dependencies=[limited_caller(Subject.INVITATION)],
)
async def invite_user(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, body: UserInvite
) -> UserItem:
    """Invite somebody who is to work here: makes the account, and mails a link to choose a password."""
    user = await service.invite_user(session, request.app.state.settings, principal, body, now)
    return (await queries.shown(session, [user]))[0]


@router.get("/{user_id}")
async def get_user(session: UnitOfWork, principal: Caller, user_id: UserId) -> UserItem:
    """Show one user."""
    return (await queries.shown(session, [await queries.find_user(session, principal, user_id)]))[0]


@router.put(
    "/{user_id}",
    response_model=UserItem,
    responses={
        **refuses(409, "The address is taken. Nobody locks itself out, nor the last SystemAdmin."),
        **refuses(429, "Addresses were changed, and people invited, too often; see `Retry-After`."),
    },
)
async def change_user(
    *,
    changed: RightsChanged,
    request: Request,
    user_id: UserId,
    body: UserChange,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
) -> UserItem:
    """Change a user: name, phone, e-mail, role, business, stations, status; what is absent stays.

    A Backoffice changes the Operators of its business, and of drivers that it knows the `status`. Nobody
    gives a role above its own. Rights change at once; the user's live connections end and sign on again.
    """
    settings, changes = request.app.state.settings, body.model_dump(exclude_unset=True)
    reason = changes.pop("reason", None)
    if "email" in changes:  # mails go out: to whoever has the old address, and to a driver
        await take(request, Subject.INVITATION, str(principal.user_id))
    done = await service.change_user(session, settings, principal, user_id, changes, reason=reason, now=now)
    if done.rights:
        changed.add(user_id)
    return (await queries.shown(session, [done.user]))[0]


@router.post(
    "/{user_id}/invite",
    status_code=204,
    responses=refuses(409, "The user has chosen a password already, or is deactivated."),
    dependencies=[limited_caller(Subject.INVITATION)],
)
async def invite_user_again(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, user_id: UserId
) -> None:
    """Mail another invitation to a user who has no password yet; the earlier link is void."""
    await service.invite_again(session, request.app.state.settings, principal, user_id, now)


@router.post("/{user_id}/reset-second-factor")
async def remove_second_factor(
    session: UnitOfWork, principal: Caller, user_id: UserId, body: SecondFactorReset | None = None
) -> SecondFactorGone:
    """Take away the second factor of somebody who has lost it, recovery codes too."""
    reason = None if body is None else body.reason
    return SecondFactorGone(
        removed=await service.remove_second_factor(session, principal, user_id, reason=reason)
    )


@router.get("/{user_id}/sign-ins")
async def list_sign_ins(
    session: UnitOfWork, principal: Caller, now: Now, paging: Annotated[Paging, Depends()], user_id: UserId
) -> Page[SignInOut]:
    """List where a user is signed in, the device that was used last first."""
    found = await queries.sign_ins(session, principal, user_id, paging, now)
    return found.page(SignInOut.model_validate(row) for row in found.rows)


@router.get("/{user_id}/cards")
async def list_cards_of_user(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], user_id: UserId
) -> Page[IdTagItem]:
    """List the cards of a driver."""
    found = await queries.cards(session, principal, user_id, paging)
    return found.page(IdTagItem.model_validate(row) for row in found.rows)


@router.get("/{user_id}/history")
async def list_user_history(
    session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], user_id: UserId
) -> Page[AuditEntryOut]:
    """List what was done to a user and by it, newest first, as far as the caller may read the audit trail."""
    found = await TRAIL.slice(session, await queries.history(session, principal, user_id), paging)
    return found.page(await readable(session, found.rows, principal))
