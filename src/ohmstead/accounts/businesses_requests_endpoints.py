"""`/api/backoffice`: businesses ask for an account, and a SystemAdmin decides."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import select

from ohmstead.accounts import businesses_requests as service
from ohmstead.accounts.access import Caller
from ohmstead.accounts.businesses import change
from ohmstead.accounts.businesses_requests_schemas import (
    BusinessApproval,
    BusinessChange,
    BusinessDetail,
    BusinessRejection,
    BusinessRequest,
    BusinessStatus,
    detail_of,
)
from ohmstead.accounts.limits import Subject, limited, limited_caller
from ohmstead.accounts.models import Backoffice, BackofficeStatus
from ohmstead.accounts.new_users import hash_temporary
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Order, Paging, containing, text_key, time_key, uuid_key

router = APIRouter(prefix="/api/backoffice", tags=["Businesses"])

TOO_OFTEN = refuses(429, "Asked for too often from this address; see `Retry-After`.")
BackofficeId = Annotated[UUID, Path(description="The id of a business.")]
ORDER = Order(
    keys={"created_at": time_key(Backoffice.created_at), "name": text_key(Backoffice.name)},
    tie=uuid_key(Backoffice.id),
    default="created_at",
)


@router.post(
    "/request",
    status_code=202,
    response_model=BusinessStatus,
    responses=refuses(
        409, "A business at work has this name, or the contact's request waits with other data."
    )
    | TOO_OFTEN,
    dependencies=[limited(Subject.REGISTRATION)],
)
async def request_business(
    body: BusinessRequest, request: Request, session: UnitOfWork, now: Now
) -> BusinessStatus:
    """Ask for an account for a business. A SystemAdmin looks at it, and the answer is mailed to the contact.

    Asked twice by the same contact it is one request; with other data, while the first waits, it is refused.
    """
    row = await service.request_business(
        session,
        request.app.state.settings,
        name=body.business_name,
        contact_name=body.contact.name,
        contact_email=body.contact.email,
        contact_phone=body.contact.phone,
        billing=body.billing_info.model_dump(exclude_none=True, by_alias=True) if body.billing_info else {},
        time_zone=body.zone,
        now=now,
    )
    return BusinessStatus.model_validate(row)


@router.get("", response_model=list[BusinessDetail])
async def list_business_requests(
    *,
    response: Response,
    session: UnitOfWork,
    _: Caller,
    paging: Annotated[Paging, Depends()],
    status: Annotated[BackofficeStatus | None, Query(description="Only businesses with this status.")] = None,
) -> list[BusinessDetail]:
    """List the businesses, the oldest first; `q` searches name and contact.

    The header `X-Next-Cursor` is the `cursor` of the next page; it is absent at the end.
    """
    query = select(Backoffice).where(
        containing(paging.q, Backoffice.name, Backoffice.contact_name, Backoffice.contact_email)
    )
    if status is not None:
        query = query.where(Backoffice.status == status)
    found = await ORDER.slice(session, query, paging)
    return found.array(response, map(detail_of, found.rows))


@router.get("/{backoffice_id}", response_model=BusinessDetail)
async def get_business(session: UnitOfWork, principal: Caller, backoffice_id: BackofficeId) -> BusinessDetail:
    """Show one business; a Backoffice sees its own."""
    return detail_of(await service.find_own(session, principal, backoffice_id))


@router.put(
    "/{backoffice_id}",
    response_model=BusinessDetail,
    responses=refuses(409, "A business at work has this name."),
)
async def change_business(
    body: BusinessChange, session: UnitOfWork, principal: Caller, backoffice_id: BackofficeId
) -> BusinessDetail:
    """Change name, contact, billing and time zone of a business; what is absent stays.

    A Backoffice changes its own, a SystemAdmin each.
    """
    row = await service.find_own(session, principal, backoffice_id, locked=True)
    contact, billing = body.contact, body.billing_info
    await change(
        session,
        row,
        name=body.business_name,
        time_zone=body.time_zone,
        contact=contact.model_dump(exclude_unset=True) if contact else {},
        billing=billing.model_dump(exclude_unset=True, by_alias=True) if billing else {},
    )
    return detail_of(row)


@router.put(
    "/{backoffice_id}/approve",
    response_model=BusinessStatus,
    responses=refuses(409, "It does not wait for approval, or the name or the address is taken."),
)
async def approve_business(
    body: BusinessApproval,
    request: Request,
    session: UnitOfWork,
    _: Caller,
    now: Now,
    backoffice_id: BackofficeId,
) -> BusinessStatus:
    """Approve a business and make the account that runs it.

    With `temporaryPassword` that is the password until the first sign-in; without it an invitation is mailed
    to `adminEmail`, good once and for a week.
    """
    hashed = await hash_temporary(body.temporary_password)
    row = await service.approve_business(
        session,
        request.app.state.settings,
        backoffice_id,
        admin_email=body.admin_email,
        admin_name=body.admin_name,
        password_hash=hashed,
        now=now,
    )
    return BusinessStatus.model_validate(row)


@router.put(
    "/{backoffice_id}/reject",
    response_model=BusinessStatus,
    responses=refuses(409, "It does not wait for approval."),
)
async def reject_business(
    body: BusinessRejection,
    request: Request,
    session: UnitOfWork,
    _: Caller,
    now: Now,
    backoffice_id: BackofficeId,
) -> BusinessStatus:
    """Reject a business; the reason is mailed to its contact, who may ask again."""
    row = await service.reject_business(
        session, request.app.state.settings, backoffice_id, reason=body.reason, now=now
    )
    return BusinessStatus.model_validate(row)


@router.post(
    "/{backoffice_id}/invite",
    status_code=202,
    response_model=BusinessStatus,
    responses=refuses(409, "It is not at work, or everybody who runs it has a password.") | TOO_OFTEN,
    dependencies=[limited_caller(Subject.INVITATION)],
)
async def invite_business_again(
    request: Request, session: UnitOfWork, _: Caller, now: Now, backoffice_id: BackofficeId
) -> BusinessStatus:
    """Mail those who run a business and have no password yet a new link; the one before is void."""
    row = await service.invite_again(session, request.app.state.settings, backoffice_id, now)
    return BusinessStatus.model_validate(row)
