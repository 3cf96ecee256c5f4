"""Id tags: what drivers show to chargers."""

from typing import Annotated
from urllib.parse import unquote
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from ohmstead.accounts import id_tags, id_tags_queries
from ohmstead.accounts.access import Caller
from ohmstead.accounts.id_tags_schemas import IdTagChange, IdTagCreate, IdTagItem
from ohmstead.accounts.models import TokenStatus
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging

router = APIRouter(prefix="/api/admin/id-tags", tags=["Id tags"])

TAKEN = refuses(409, "The business has a tag of this text already, in whatever case.")
AMBIGUOUS = refuses(409, "Several businesses have a tag of this text: name it by its id.")


def named(
    id_tag: Annotated[
        str, Path(description="The tag in any case (a slash in it is written `%2F`), or its id.")
    ],
) -> str:
    """Return the tag that a path names. A slash stays `%2F` until here, or it would end the path's part, and
    a percent sign `%25`: so a tag `a%2Fb` is another than `a/b`.
    """
    return unquote(id_tag)


Named = Annotated[str, Depends(named)]


@router.get("", response_model=Page[IdTagItem])
async def list_id_tags(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    status: Annotated[TokenStatus | None, Query(description="Only tags with this status.")] = None,
    backoffice_id: Annotated[UUID | None, Query(description="Only tags of this business.")] = None,
    sort: Annotated[
        str, Query(max_length=40, description="`id_tag` or `created_at`, each also with `-`.")
    ] = "id_tag",
) -> Page[IdTagItem]:
    """List the id tags of the caller's business, for a SystemAdmin all; `q` searches tag, parent and owner.

    `status` is what was set; a tag past its `expires_at` keeps it, and is answered Expired.
    """
    found = await id_tags_queries.list_id_tags(
        session, principal, paging, status=status, backoffice_id=backoffice_id, sort=sort
    )
    return found.page(IdTagItem.model_validate(token) for token in found.rows)


@router.post("", status_code=201, response_model=IdTagItem, responses=TAKEN)
async def create_id_tag(body: IdTagCreate, session: UnitOfWork, principal: Caller, now: Now) -> IdTagItem:
    """Make an id tag. 409 when the business has it already, in whatever case."""
    token = await id_tags.create_id_tag(session, principal, now=now, **body.model_dump())
    return IdTagItem.model_validate(token)


@router.get("/{id_tag}", response_model=IdTagItem, responses=AMBIGUOUS)
async def get_id_tag(id_tag: Named, session: UnitOfWork, principal: Caller) -> IdTagItem:
    """Get one id tag, by its text in any case or by its id."""
    return IdTagItem.model_validate(await id_tags_queries.find_id_tag(session, principal, id_tag))


@router.put("/{id_tag}", response_model=IdTagItem, responses=TAKEN)
async def change_id_tag(
    id_tag: Named, body: IdTagChange, session: UnitOfWork, principal: Caller, now: Now
) -> IdTagItem:
    """Change an id tag; members that are absent stay. It may be renamed: 409 when the new name is taken."""
    changes = body.model_dump(exclude_unset=True)
    token = await id_tags.change_id_tag(session, principal, id_tag, changes=changes, now=now)
    return IdTagItem.model_validate(token)


@router.delete("/{id_tag}", status_code=204, responses=AMBIGUOUS)
async def delete_id_tag(id_tag: Named, session: UnitOfWork, principal: Caller) -> None:
    """Delete an id tag. Its sessions stay and keep its text."""
    await id_tags.delete_id_tag(session, principal, id_tag)
