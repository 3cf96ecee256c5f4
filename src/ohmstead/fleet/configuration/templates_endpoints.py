"""`/api/admin/configuration-templates`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from ohmstead.accounts.access import Caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.fleet.configuration import templates_queries as queries
from ohmstead.fleet.configuration import templates_service as service
from ohmstead.fleet.configuration.schemas import TemplateChange, TemplateCharger, TemplateIn, TemplateOut

router = APIRouter(prefix="/api/admin/configuration-templates", tags=["Configuration"])

TemplateId = Annotated[UUID, Path(description="The id of a template.")]
TAKEN = refuses(409, "The business has a template of this name.")


@router.get("")
async def list_configuration_templates(
    *,
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    backoffice_id: Annotated[UUID | None, Query(description="Only templates of this business.")] = None,
    sort: Annotated[str | None, Query(description="`name` or `created_at`; `-` before it: falling.")] = None,
) -> Page[TemplateOut]:
    """List the templates of the caller's business, by name; `q` searches their names."""
    return await queries.list_templates(session, principal, paging, backoffice_id=backoffice_id, sort=sort)


@router.post("", status_code=201, responses=TAKEN)
async def create_configuration_template(
    session: UnitOfWork, principal: Caller, now: Now, body: TemplateIn
) -> TemplateOut:
    """Create a template; only `name` and `keys` are needed. Nothing is sent before a charger's next boot."""
    template = await service.create_template(session, principal, now, body)
    return await queries.show_template(session, principal, template)


@router.get("/{template_id}")
async def get_configuration_template(
    session: UnitOfWork, principal: Caller, template_id: TemplateId
) -> TemplateOut:
    """Show one template."""
    return await queries.show_template(
        session, principal, await queries.get_template(session, principal, template_id)
    )


@router.put("/{template_id}", responses=TAKEN)
async def change_configuration_template(
    session: UnitOfWork, principal: Caller, now: Now, template_id: TemplateId, body: TemplateChange
) -> TemplateOut:
    """Change what the body names and keep the rest; also whose template it is.

    Nothing is sent before a charger's next boot: to change chargers at once, start a campaign.
    """
    template = await service.change_template(session, principal, now, template_id, body)
    return await queries.show_template(session, principal, template)


@router.delete("/{template_id}", status_code=204)
async def delete_configuration_template(
    session: UnitOfWork, principal: Caller, template_id: TemplateId
) -> None:
    """Delete a template. Chargers keep what they were given."""
    await service.delete_template(session, principal, template_id)


@router.get("/{template_id}/chargers")
async def list_configuration_template_chargers(
    *,
    session: UnitOfWork,
    principal: Caller,
    now: Now,
    template_id: TemplateId,
    paging: Annotated[Paging, Depends()],
) -> Page[TemplateCharger]:
    """List the chargers that a template is for, by id, and how each stands to its templates."""
    template = await queries.get_template(session, principal, template_id)
    return await queries.list_template_chargers(session, principal, template, paging, now)
