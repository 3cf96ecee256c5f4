"""Writes of templates. Nothing is sent to a charger by them: that follows its next accepted boot."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, DomainError, Invalid
from ohmstead.fleet.configuration.models import ConfigurationTemplate, TemplateStation
from ohmstead.fleet.configuration.schemas import TemplateChange, TemplateIn
from ohmstead.fleet.configuration.templates_queries import get_template
from ohmstead.stations.models import Station
from ohmstead.stations.service import owner_of_new


async def create_template(
    session: AsyncSession, principal: Principal, now: datetime, wanted: TemplateIn
) -> ConfigurationTemplate:
    """Create a template. Raises `Conflict` for a name that the business has, and `Invalid`."""
    backoffice_id = await owner_of_new(session, principal, wanted.backoffice_id)
    if backoffice_id is None:
        raise Invalid(
            "There are several businesses: name the one that the template is for by `backoffice_id`.",
            fields={"backoffice_id": "is needed"},
        )
    template = ConfigurationTemplate(
        id=uuid4(),
        backoffice_id=backoffice_id,
        name=wanted.name,
        keys=_pairs(wanted.keys),
        everywhere=False,
        created_at=now,
        updated_at=now,
    )
    async with refusing(session, _refusals(wanted.name)):
        session.add(template)
    await _assign(session, template, wanted.station_ids, business=wanted.business)
    told = wanted.model_dump(include={"station_ids"})
    await record_row(session, "configuration_template.created", template, also=told)
    return template


async def change_template(
    session: AsyncSession, principal: Principal, now: datetime, template_id: UUID, change: TemplateChange
) -> ConfigurationTemplate:
    """Merge a change into a template: what was not given stays.

    Raises as `create_template` does, and `NotFound`.
    """
    template = await get_template(session, principal, template_id, lock=True)
    given = change.model_fields_set
    before = state(template)
    async with refusing(session, _refusals(change.name if "name" in given else template.name)):
        if "name" in given:
            template.name = change.name
        if "keys" in given:
            template.keys = _pairs(change.keys)
        template.updated_at = now
    await _assign(
        session,
        template,
        change.station_ids if "station_ids" in given else None,
        business=change.business if "business" in given else None,
    )
    told = change.model_dump(include={"station_ids"} & given)
    await record_row(session, "configuration_template.updated", template, before, also=told)
    return template


async def delete_template(session: AsyncSession, principal: Principal, template_id: UUID) -> None:
    """Delete a template. Chargers keep what they were given. Raises `NotFound`."""
    template = await get_template(session, principal, template_id, lock=True)
    await record_row(session, "configuration_template.deleted", template, gone=True)
    await session.delete(template)
    await session.flush()


def _pairs(keys: dict[str, str]) -> list[list[str]]:
    return [[key, value] for key, value in keys.items()]


async def _assign(
    session: AsyncSession,
    template: ConfigurationTemplate,
    station_ids: Collection[UUID] | None,
    *,
    business: bool | None,
) -> None:
    """Make a template that of some stations (and of no others) and of its business; None leaves it."""
    if station_ids is not None:
        await _assign_stations(session, template, set(station_ids))
    if business is None or business == template.everywhere:
        return
    others = (
        update(ConfigurationTemplate)
        .where(
            ConfigurationTemplate.backoffice_id == template.backoffice_id,
            ConfigurationTemplate.everywhere,
            ConfigurationTemplate.id != template.id,
        )
        .values(everywhere=False)
    )
    async with refusing(session, _refusals(template.name)):
        if business:
            await session.execute(others)
        template.everywhere = business


async def _assign_stations(
    session: AsyncSession, template: ConfigurationTemplate, station_ids: set[UUID]
) -> None:
    query = select(Station.id).where(
        Station.id.in_(station_ids), Station.backoffice_id == template.backoffice_id
    )
    strange = station_ids - set(await session.scalars(query))
    if strange:
        raise _no_station(min(strange, key=str))
    await session.execute(
        delete(TemplateStation).where(
            TemplateStation.template_id == template.id, TemplateStation.station_id.not_in(station_ids)
        )
    )
    if not station_ids:
        return
    # In one order, so that two who assign the same stations wait for each other instead of blocking both.
    rows = [{"station_id": one, "template_id": template.id} for one in sorted(station_ids, key=str)]
    place = insert(TemplateStation)
    async with refusing(
        session, {"fk_fleet_configuration_station_station_id": _no_station(rows[0]["station_id"])}
    ):
        await session.execute(
            place.on_conflict_do_update(
                index_elements=["station_id"], set_={"template_id": place.excluded.template_id}
            ),
            rows,
        )


def _no_station(station_id: UUID) -> Invalid:
    return Invalid(
        f"The business of the template has no station {station_id}.",
        fields={"station_ids": f"there is no station {station_id} of this business"},
    )


def _refusals(name: str) -> dict[str, DomainError]:
    return {
        "uq_fleet_configuration_template_name": Conflict(
            f"The business has a template called {name} already. Choose another name.",
            code="TemplateExists",
            fields={"name": "is taken"},
        ),
        "uq_fleet_configuration_template_everywhere": Conflict(
            "Somebody else has made another template that of the business at this moment. Try again."
        ),
        "fk_fleet_configuration_template_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
    }
