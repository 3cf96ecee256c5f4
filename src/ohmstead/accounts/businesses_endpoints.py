"""The businesses of an installation, as its SystemAdmin makes and names them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, StringConstraints
from sqlalchemy import select

from ohmstead.accounts.access import Caller
from ohmstead.accounts.businesses import make_business
from ohmstead.accounts.models import Backoffice, BackofficeStatus
from ohmstead.core.errors import NotFound
from ohmstead.core.http import Now, Schema, UnitOfWork, UtcTime
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Order, Page, Paging, containing, text_key, time_key, uuid_key
from ohmstead.core.text import Text
from ohmstead.core.time_zones import TimeZone

router = APIRouter(prefix="/api/admin/backoffices", tags=["Businesses"])

Sort = Annotated[str, Query(max_length=40, description="`name` or `created_at`, each also with `-`.")]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
ORDER = Order(
    keys={"name": text_key(Backoffice.name), "created_at": time_key(Backoffice.created_at)},
    tie=uuid_key(Backoffice.id),
    default="name",
)


class BusinessIn(Schema):
    """A new business; only its name is needed."""

    name: Name = Field(examples=["VoltCo"])
    time_zone: TimeZone = Field(default="UTC", examples=["Asia/Colombo"])


class BusinessOut(Schema):
    """A business: the owner of stations, chargers and tags."""

    id: UUID
    name: str
    time_zone: str
    status: BackofficeStatus
    created_at: UtcTime


@router.get("", response_model=Page[BusinessOut])
async def list_businesses(
    *, session: UnitOfWork, principal: Caller, paging: Annotated[Paging, Depends()], sort: Sort = "name"
) -> Page[BusinessOut]:
    """List the businesses; `q` searches their names, `sort` is `name` or `created_at`, each also with `-`."""
    query = select(Backoffice).where(containing(paging.q, Backoffice.name))
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(BusinessOut.model_validate(row) for row in found.rows)


@router.post(
    "",
    response_model=BusinessOut,
    status_code=201,
    responses=refuses(409, "A business has this name already."),
)
async def create_business(
    *, session: UnitOfWork, principal: Caller, now: Now, body: BusinessIn
) -> BusinessOut:
    """Create a business that is active at once."""
    return BusinessOut.model_validate(await make_business(session, body.name, body.time_zone, now))


@router.get("/{backoffice_id}", response_model=BusinessOut)
async def show_business(
    *,
    session: UnitOfWork,
    principal: Caller,
    backoffice_id: Annotated[UUID, Path(description="The id of a business.")],
) -> BusinessOut:
    """Show one business."""
    row = await session.get(Backoffice, backoffice_id)
    if row is None:
        raise NotFound("There is no business with this id.", code="BackofficeNotFound")
    return BusinessOut.model_validate(row)
