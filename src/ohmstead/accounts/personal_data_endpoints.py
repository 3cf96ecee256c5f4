"""Exports and erasures: `/api/admin/personal-data`, and `/api/auth/me/personal-data` for a driver's own."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited_caller
from ohmstead.accounts.models import User
from ohmstead.accounts.password_change import check_password
from ohmstead.accounts.personal_data import PersonalData
from ohmstead.accounts.personal_data_jobs import NAME
from ohmstead.accounts.personal_data_models import PersonalDataRequest, RequestKind, RequestState
from ohmstead.accounts.personal_data_requests import ask, find_request
from ohmstead.accounts.schemas import CamelSchema
from ohmstead.accounts.sign_in_schemas import Proof
from ohmstead.accounts.users_queries import find_user
from ohmstead.core.config import Settings
from ohmstead.core.errors import NotFound
from ohmstead.core.file_links import download_url
from ohmstead.core.http import Now, Schema, UnitOfWork, UtcTime
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Order, Page, Paging, time_key, uuid_key
from ohmstead.core.text import Text

admin_router = APIRouter(prefix="/api/admin", tags=["Personal data"])
own_router = APIRouter(prefix="/api/auth/me/personal-data", tags=["Personal data"])

ORDER = Order(
    keys={"created_at": time_key(PersonalDataRequest.created_at)},
    tie=uuid_key(PersonalDataRequest.id),
    default="-created_at",
)
CONFIRM = "For an erasure, which cannot be undone: the e-mail address of the user."
URL = "Where the archive can be fetched, until `expires_at`; null before and after."
REFUSED = refuses(409, "A request is open already, the driver is charging, or the user is no driver.")
LISTED = 50

RequestId = Annotated[UUID, Path(description="The id of an export or erasure.")]
Confirm = Annotated[Text | None, Field(max_length=254, description=CONFIRM)]


class RequestIn(Schema):
    """What is asked for."""

    kind: RequestKind
    confirm: Confirm = None


class Progress(Schema):
    """How far an export or erasure is: so many `parts` of so many (`of`) are done."""

    id: UUID
    kind: RequestKind
    state: RequestState
    parts: int
    of: int
    detail: str | None
    created_at: UtcTime
    ended_at: UtcTime | None
    expires_at: UtcTime | None
    download_url: str | None = Field(description=URL)


class RequestOut(Progress):
    """An export or erasure, and how far it is: so many `parts` of so many (`of`) are done."""

    user_id: UUID


class OwnRequestIn(Proof):
    """What a driver asks for; for an erasure also the password, where the account has one."""

    kind: RequestKind
    confirm: Confirm = None


class OwnRequestOut(Progress, CamelSchema):
    """A driver's own export or erasure, and how far it is."""


@admin_router.post(
    "/users/{user_id}/personal-data",
    status_code=202,
    responses=REFUSED,
    dependencies=[limited_caller(Subject.PERSONAL_DATA)],
)
async def request_personal_data(
    *,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    user_id: Annotated[UUID, Path(description="The id of a user.")],
    body: RequestIn,
) -> RequestOut:
    """Begin an export of what is kept about a user, or the erasure of a driver."""
    user = await find_user(session, principal, user_id, locked=True)
    parts: PersonalData = request.app.state.personal_data
    row = await ask(
        session, parts, user, body.kind, confirm=body.confirm, asked_by=principal.user_id, now=now
    )
    return _out(request, row)


@admin_router.get("/personal-data")
async def list_personal_data(
    *,
    request: Request,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    kind: Annotated[RequestKind | None, Query(description="Only of this kind.")] = None,
    state: Annotated[RequestState | None, Query(description="Only with this state.")] = None,
    user: Annotated[UUID | None, Query(description="Only those of this user.")] = None,
) -> Page[RequestOut]:
    """List exports and erasures, newest first."""
    query = select(PersonalDataRequest)
    for column, value in (
        (PersonalDataRequest.kind, kind),
        (PersonalDataRequest.state, state),
        (PersonalDataRequest.user_id, user),
    ):
        if value is not None:
            query = query.where(column == value)
    found = await ORDER.slice(session, query, paging)
    return found.page(_out(request, row) for row in found.rows)


@admin_router.get("/personal-data/{personal_data_id}")
async def get_personal_data(
    request: Request, session: UnitOfWork, principal: Caller, personal_data_id: RequestId
) -> RequestOut:
    """Show how far an export or erasure is, and where its archive can be fetched."""
    return _out(request, await find_request(session, personal_data_id))


@own_router.post(
    "",
    status_code=202,
    responses={**REFUSED, **refuses(429, "Asked for too often, or too many wrong passwords.")},
    dependencies=[limited_caller(Subject.PERSONAL_DATA)],
)
async def request_own_personal_data(
    request: Request, session: UnitOfWork, principal: Caller, now: Now, body: OwnRequestIn
) -> OwnRequestOut:
    """Begin an export of all that is kept about the caller, or its erasure, which ends its account."""
    if body.kind is RequestKind.ERASURE:
        state, address = request.app.state, request.client.host if request.client else ""
        # Nothing has been read yet: no connection waits for the password.
        await check_password(
            state.database, state.settings, principal, body.password, address=address, now=now
        )
    user = await _own(session, principal.user_id)
    parts: PersonalData = request.app.state.personal_data
    row = await ask(
        session, parts, user, body.kind, confirm=body.confirm, asked_by=principal.user_id, now=now
    )
    return _own_out(request, row)


@own_router.get("")
async def list_own_personal_data(
    request: Request, session: UnitOfWork, principal: Caller
) -> list[OwnRequestOut]:
    """List the caller's own exports and erasures, the last fifty, newest first."""
    query = select(PersonalDataRequest).where(PersonalDataRequest.user_id == principal.user_id)
    rows = await session.scalars(query.order_by(PersonalDataRequest.created_at.desc()).limit(LISTED))
    return [_own_out(request, row) for row in rows]


@own_router.get("/{personal_data_id}")
async def get_own_personal_data(
    request: Request, session: UnitOfWork, principal: Caller, personal_data_id: RequestId
) -> OwnRequestOut:
    """Show how far an own export or erasure is, and where its archive can be fetched."""
    return _own_out(request, await find_request(session, personal_data_id, user_id=principal.user_id))


async def _own(session: AsyncSession, user_id: UUID) -> User:
    user = await session.get(User, user_id, with_for_update=True)
    if user is None:
        raise NotFound("There is no such user.")
    return user


def _out(request: Request, row: PersonalDataRequest) -> RequestOut:
    settings: Settings = request.app.state.settings
    parts: PersonalData = request.app.state.personal_data
    url = None
    if row.link_id is not None and row.expires_at is not None:
        url = download_url(settings, row.link_id, NAME, row.expires_at)
    told = RequestOut.model_fields.keys() - {"parts", "of", "download_url"}
    return RequestOut(
        **{name: getattr(row, name) for name in told},
        parts=len(row.parts),
        of=len(parts.contributions),
        download_url=url,
    )


def _own_out(request: Request, row: PersonalDataRequest) -> OwnRequestOut:
    return OwnRequestOut(**_out(request, row).model_dump(exclude={"user_id"}))
