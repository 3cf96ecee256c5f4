"""`/api/operator`: who works at the stations of a business."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from ohmstead.accounts import operators as service
from ohmstead.accounts.access import Caller
from ohmstead.accounts.invites import invite
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.models import UserStatus
from ohmstead.accounts.new_users import hash_temporary
from ohmstead.accounts.operators_schemas import (
    OperatorChange,
    OperatorIn,
    OperatorOut,
    OperatorReason,
    operator_of,
)
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Paging

router = APIRouter(prefix="/api/operator", tags=["Operators"])

OperatorId = Annotated[UUID, Path(description="The id of an operator.")]


@router.post(
    "",
    status_code=201,
    response_model=OperatorOut,
    responses=refuses(409, "The e-mail address has an account."),
    dependencies=[limited_caller(Subject.INVITATION)],
)
async def create_operator(
    body: OperatorIn, request: Request, session: UnitOfWork, principal: Caller, now: Now
) -> OperatorOut:
    """Make an operator. With `password` that is the password until the first sign-in; without it an
    invitation is mailed, good once and for a week.
    """
    hashed = await hash_temporary(body.password)
    user = await service.create_operator(
        session,
        request.app.state.settings,
        principal,
        password_hash=hashed,
        now=now,
        **body.model_dump(exclude={"password"}),
    )
    return operator_of(user)


@router.get("", response_model=list[OperatorOut])
async def list_operators(
    *,
    response: Response,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    backoffice_id: Annotated[
        UUID | None, Query(alias="backofficeId", description="Only operators of this business.")
    ] = None,
    station_id: Annotated[
        UUID | None, Query(alias="stationId", description="Only operators who work at this station.")
    ] = None,
    sort: Annotated[str, Query(max_length=40, description="`email` or `created_at`, each also with `-`.")] = (
        "email"
    ),
) -> list[OperatorOut]:
    """List the operators of the caller's business, for a SystemAdmin all; `q` searches e-mail and name.

    The header `X-Next-Cursor` is the `cursor` of the next page; it is absent at the end.
    """
    found = await service.list_operators(
        session, principal, paging, backoffice_id=backoffice_id, station_id=station_id, sort=sort
    )
    return found.array(response, map(operator_of, found.rows))


@router.get("/{operator_id}", response_model=OperatorOut)
async def get_operator(session: UnitOfWork, principal: Caller, operator_id: OperatorId) -> OperatorOut:
    """Show one operator."""
    return operator_of(await service.find_operator(session, principal, operator_id))


@router.put("/{operator_id}", response_model=OperatorOut)
async def change_operator(
    *,
    changed: RightsChanged,
    body: OperatorChange,
    session: UnitOfWork,
    principal: Caller,
    operator_id: OperatorId,
) -> OperatorOut:
    """Change where an operator works and what it is called; what is absent stays.

    It holds from the operator's next request on, and its live connections end at once.
    """
    changes = body.model_dump(exclude_unset=True)
    reason = changes.pop("reason", None)
    user, rights = await service.change_operator(session, principal, operator_id, changes, reason=reason)
    if rights:
        changed.add(user.id)
    return operator_of(user)


@router.put("/{operator_id}/disable", response_model=OperatorOut)
async def disable_operator(
    *,
    changed: RightsChanged,
    session: UnitOfWork,
    principal: Caller,
    operator_id: OperatorId,
    body: OperatorReason | None = None,
) -> OperatorOut:
    """Keep an operator from acting and from signing in, from now on."""
    return await _set_status(changed, session, principal, (operator_id, UserStatus.DEACTIVATED), body)


@router.put("/{operator_id}/enable", response_model=OperatorOut)
async def enable_operator(
    *,
    changed: RightsChanged,
    session: UnitOfWork,
    principal: Caller,
    operator_id: OperatorId,
    body: OperatorReason | None = None,
) -> OperatorOut:
    """Let a disabled operator act again."""
    return await _set_status(changed, session, principal, (operator_id, UserStatus.ACTIVE), body)


@router.post(
    "/{operator_id}/invite",
    status_code=202,
    response_model=OperatorOut,
    responses=refuses(409, "The operator has a password, or is disabled."),
    dependencies=[limited_caller(Subject.INVITATION)],
)
async def invite_operator_again(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, operator_id: OperatorId
) -> OperatorOut:
    """Mail an operator who has no password yet a new link; the one before is void."""
    user = await service.find_operator(session, principal, operator_id, locked=True)
    await invite(session, request.app.state.settings, user, now)
    return operator_of(user)


async def _set_status(
    changed: set[UUID],
    session: UnitOfWork,
    principal: Caller,
    wanted: tuple[UUID, UserStatus],
    body: OperatorReason | None,
) -> OperatorOut:
    reason = None if body is None else body.reason
    user, rights = await service.set_operator_status(session, principal, *wanted, reason=reason)
    if rights:
        changed.add(user.id)
    return operator_of(user)
