"""Reads of templates."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, false, func, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, text_key, time_key, uuid_key
from ohmstead.fleet.configuration.keys import KeyState, fold, overall, state_of
from ohmstead.fleet.configuration.models import (
    ConfigurationKey,
    ConfigurationTemplate,
    ConfigurationTurn,
    TemplateStation,
)
from ohmstead.fleet.configuration.schemas import TemplateCharger, TemplateOut
from ohmstead.fleet.configuration.wanted import pairs_of, wanted_by
from ohmstead.stations.models import Charger, Station

ORDER = Order(
    keys={
        "name": text_key(func.lower(ConfigurationTemplate.name)),
        "created_at": time_key(ConfigurationTemplate.created_at),
    },
    tie=uuid_key(ConfigurationTemplate.id),
    default="name",
)
CHARGER_ORDER = Order(keys={"id": text_key(Charger.id)}, tie=text_key(Charger.id), default="id")


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the templates that somebody may see: all, or those of the own business."""
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role in {Role.BACKOFFICE, Role.OPERATOR} and principal.backoffice_id is not None:
        return ConfigurationTemplate.backoffice_id == principal.backoffice_id
    return false()


async def get_template(
    session: AsyncSession, principal: Principal, template_id: UUID, *, lock: bool = False
) -> ConfigurationTemplate:
    """Return a template of the caller's scope. Raises `NotFound`."""
    query = select(ConfigurationTemplate).where(
        ConfigurationTemplate.id == template_id, visible_to(principal)
    )
    if lock:
        query = query.with_for_update()
    template = (await session.execute(query)).scalar_one_or_none()
    if template is None:
        raise NotFound("There is no such configuration template.", code="TemplateNotFound")
    return template


async def list_templates(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    backoffice_id: UUID | None = None,
    sort: str | None = None,
) -> Page[TemplateOut]:
    """Return a page of the caller's templates; `q` searches their names."""
    query = select(ConfigurationTemplate).where(
        visible_to(principal), containing(paging.q, ConfigurationTemplate.name)
    )
    if backoffice_id is not None:
        query = query.where(ConfigurationTemplate.backoffice_id == backoffice_id)
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(await show_templates(session, principal, found.rows))


async def show_template(
    session: AsyncSession, principal: Principal, template: ConfigurationTemplate
) -> TemplateOut:
    """Return a template as it goes out."""
    return (await show_templates(session, principal, [template]))[0]


async def show_templates(
    session: AsyncSession, principal: Principal, templates: Collection[ConfigurationTemplate]
) -> list[TemplateOut]:
    """Return templates as they go out, with those of their stations and chargers that the caller may see."""
    ids = [template.id for template in templates]
    stations: dict[UUID, list[UUID]] = {template_id: [] for template_id in ids}
    query = (
        select(TemplateStation.template_id, TemplateStation.station_id)
        .join(ConfigurationTemplate, ConfigurationTemplate.id == TemplateStation.template_id)
        .join(
            Station,
            (Station.id == TemplateStation.station_id)
            & (Station.backoffice_id == ConfigurationTemplate.backoffice_id),
        )
        .where(TemplateStation.template_id.in_(ids), principal.owns(Station.backoffice_id, Station.id))
        .order_by(Station.name, Station.id)
    )
    for template_id, station_id in await session.execute(query):
        stations[template_id].append(station_id)
    counting = (
        select(ConfigurationTemplate.id, func.count(Charger.id))
        .join(Charger, _is_for_charger())
        .where(
            ConfigurationTemplate.id.in_(ids),
            Charger.retired_at.is_(None),
            principal.owns(Charger.backoffice_id, Charger.station_id),
        )
        .group_by(ConfigurationTemplate.id)
    )
    counts = {row[0]: row[1] for row in await session.execute(counting)}
    return [
        TemplateOut(
            id=template.id,
            backoffice_id=template.backoffice_id,
            name=template.name,
            keys=dict(pairs_of(template)),
            station_ids=stations[template.id],
            business=template.everywhere,
            chargers=counts.get(template.id, 0),
            created_at=template.created_at,
            updated_at=template.updated_at,
        )
        for template in templates
    ]


def _is_for_charger() -> ColumnElement[bool]:
    """Return the condition of a charger that a template is for."""
    at_station = (
        select(TemplateStation.station_id)
        .where(
            TemplateStation.template_id == ConfigurationTemplate.id,
            TemplateStation.station_id == Charger.station_id,
        )
        .correlate(ConfigurationTemplate, Charger)
        .exists()
    )
    whose = Charger.backoffice_id == ConfigurationTemplate.backoffice_id
    return whose & or_(ConfigurationTemplate.everywhere, at_station)


async def list_template_chargers(
    session: AsyncSession,
    principal: Principal,
    template: ConfigurationTemplate,
    paging: Paging,
    now: datetime,
) -> Page[TemplateCharger]:
    """Return a page of the chargers that a template is for; `q` searches their ids and names."""
    query = (
        select(Charger)
        .join(ConfigurationTemplate, _is_for_charger())
        .where(ConfigurationTemplate.id == template.id, Charger.retired_at.is_(None))
        .where(containing(paging.q, Charger.id, Charger.name))
    )
    query = principal.within(query, Charger.backoffice_id, Charger.station_id)
    found = await CHARGER_ORDER.slice(session, query, paging)
    return found.page(await _standing(session, found.rows, now))


async def _standing(
    session: AsyncSession, chargers: Collection[Charger], now: datetime
) -> list[TemplateCharger]:
    wanted = await wanted_by(session, chargers)
    ids = [charger.id for charger in chargers]
    names = {folded for one in wanted.values() for folded in one.keys}
    keys = await session.scalars(
        select(ConfigurationKey).where(
            ConfigurationKey.charger_id.in_(ids), ConfigurationKey.folded.in_(names)
        )
    )
    known = {(row.charger_id, row.folded): row for row in keys}
    turns = await session.scalars(select(ConfigurationTurn).where(ConfigurationTurn.charger_id.in_(ids)))
    turn_of = {row.charger_id: row for row in turns}
    shown = []
    for charger in chargers:
        states: dict[str, KeyState] = {
            key: state_of(known.get((charger.id, fold(key))), value, booted_at=charger.last_boot_at, now=now)
            for key, value in wanted[charger.id].keys.values()
        }
        turn = turn_of.get(charger.id)
        shown.append(
            TemplateCharger.model_validate(
                {
                    "charger_id": charger.id,
                    "station_id": charger.station_id,
                    "online": charger.online,
                    "state": overall(states.values()),
                    "keys": {key: state for key, state in states.items() if state is not KeyState.SAME},
                    "due_at": turn.due_at if turn else None,
                    "ending": turn.ending if turn else None,
                    "detail": turn.detail if turn else None,
                    "ended_at": turn.ended_at if turn else None,
                }
            )
        )
    return shown
