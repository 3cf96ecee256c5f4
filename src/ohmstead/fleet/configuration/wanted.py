"""What chargers should be set to: their templates, laid over each other."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.fleet.configuration.keys import merged
from ohmstead.fleet.configuration.models import ConfigurationTemplate, TemplateStation


class Placed(Protocol):
    """A charger, and whose it is."""

    @property
    def id(self) -> str:
        """Its OCPP identity."""

    @property
    def backoffice_id(self) -> UUID | None:
        """Its business."""

    @property
    def station_id(self) -> UUID | None:
        """Its station."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The templates of a charger, the business's before the station's, and what they want.

    `keys` by folded key: (key, value). Empty for a charger without a template.
    """

    templates: list[ConfigurationTemplate] = field(default_factory=list)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, *templates: ConfigurationTemplate) -> "Wanted":
        """Lay templates over each other, key by key: where two name the same key the later one counts."""
        return cls(list(templates), merged(*(pairs_of(template) for template in templates)))


def pairs_of(template: ConfigurationTemplate) -> list[tuple[str, str]]:
    """Return the keys of a template in their order."""
    return [(str(key), str(value)) for key, value in template.keys]


async def wanted_of(session: AsyncSession, charger: Placed) -> Wanted:
    """Return what a charger should be set to."""
    return (await wanted_by(session, [charger]))[charger.id]


async def wanted_by(session: AsyncSession, chargers: Collection[Placed]) -> dict[str, Wanted]:
    """Return what chargers should be set to, by their ids.

    The template of a charger's station comes over that of its business. One that belongs to another
    business (the station has moved) does not count.
    """
    businesses = {charger.backoffice_id for charger in chargers if charger.backoffice_id is not None}
    stations = {charger.station_id for charger in chargers if charger.station_id is not None}
    if not businesses:
        return {charger.id: Wanted() for charger in chargers}
    query = (
        select(ConfigurationTemplate, TemplateStation.station_id)
        .outerjoin(
            TemplateStation,
            (TemplateStation.template_id == ConfigurationTemplate.id)
            & TemplateStation.station_id.in_(stations),
        )
        .where(
            ConfigurationTemplate.backoffice_id.in_(businesses),
            or_(ConfigurationTemplate.everywhere, TemplateStation.station_id.is_not(None)),
        )
    )
    everywhere: dict[UUID, ConfigurationTemplate] = {}
    of_station: dict[UUID, ConfigurationTemplate] = {}
    for template, station_id in await session.execute(query):
        if template.everywhere:
            everywhere[template.backoffice_id] = template
        if station_id is not None:
            of_station[station_id] = template
    found: dict[str, Wanted] = defaultdict(Wanted)
    for charger in chargers:
        own = everywhere.get(charger.backoffice_id) if charger.backoffice_id else None
        at_station = of_station.get(charger.station_id) if charger.station_id else None
        if at_station is not None and at_station.backoffice_id != charger.backoffice_id:
            at_station = None
        layers = [one for one in (own, at_station) if one is not None]
        if len(layers) == 2 and layers[0].id == layers[1].id:
            layers.pop()
        found[charger.id] = Wanted.of(*layers)
    return found
