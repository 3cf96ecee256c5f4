"""Reads of charging profiles."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, false, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.models import Role
from ohmstead.accounts.principal import Principal
from ohmstead.charging.models import Session, SessionStatus
from ohmstead.core.errors import NotFound
from ohmstead.core.paging import Order, Page, Paging, containing, number_key, text_key, time_key, uuid_key
from ohmstead.energy.composite import PHASES, VOLTAGE, Profile
from ohmstead.energy.models import ChargingProfile, InstalledProfile
from ohmstead.energy.profiles import OWN_OF_A_CHARGER, read_profile
from ohmstead.energy.schemas import ChargingProfileOut, InstalledOut
from ohmstead.stations.models import Connector

ORDER = Order(
    keys={
        "name": text_key(func.lower(ChargingProfile.name)),
        "created_at": time_key(ChargingProfile.created_at),
    },
    tie=uuid_key(ChargingProfile.id),
    default="name",
)
INSTALLED = Order(
    keys={"id": number_key(InstalledProfile.charging_profile_id)},
    tie=number_key(InstalledProfile.charging_profile_id),
    default="id",
)


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the profiles that somebody may see: all, or those of the own business."""
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role in {Role.BACKOFFICE, Role.OPERATOR} and principal.backoffice_id is not None:
        return ChargingProfile.backoffice_id == principal.backoffice_id
    return false()


async def get_profile(
    session: AsyncSession, principal: Principal, profile_id: UUID, *, lock: bool = False
) -> ChargingProfile:
    """Return a profile of the caller's scope. Raises `NotFound`."""
    query = select(ChargingProfile).where(ChargingProfile.id == profile_id, visible_to(principal))
    row = (await session.execute(query.with_for_update() if lock else query)).scalar_one_or_none()
    if row is None:
        raise NotFound("There is no such charging profile.", code="ProfileNotFound")
    return row


async def list_profiles(
    session: AsyncSession, principal: Principal, paging: Paging, *, sort: str | None = None
) -> Page[ChargingProfileOut]:
    """Return a page of the caller's profiles; `q` searches their names."""
    query = select(ChargingProfile).where(visible_to(principal), containing(paging.q, ChargingProfile.name))
    found = await ORDER.slice(session, query, paging, sort)
    return found.page(await show_profiles(session, found.rows))


async def show_profiles(session: AsyncSession, rows: Collection[ChargingProfile]) -> list[ChargingProfileOut]:
    """Return profiles as they go out, with how many chargers have them, and have them as they were."""
    used: dict[UUID, list[InstalledProfile]] = {row.id: [] for row in rows}
    query = select(InstalledProfile).where(InstalledProfile.profile_id.in_(list(used)))
    for one in await session.scalars(query):
        if one.profile_id is not None:
            used[one.profile_id].append(one)
    return [
        ChargingProfileOut(
            id=row.id,
            backoffice_id=row.backoffice_id,
            name=row.name,
            charging_profile_id=row.number,
            profile=row.profile,
            chargers=len({one.charger_id for one in used[row.id]}),
            outdated_chargers=len({one.charger_id for one in used[row.id] if outdated(one, row)}),
            created_at=row.created_at,
            updated_at=row.updated_at,
        )
        for row in rows
    ]


def outdated(told: InstalledProfile, kept: ChargingProfile) -> bool:
    """Tell whether a charger has another version than the one that is kept now."""
    bare = {name: value for name, value in told.profile.items() if name not in OWN_OF_A_CHARGER}
    return bare != kept.profile


async def list_installed(
    session: AsyncSession, principal: Principal, charger_id: str, paging: Paging
) -> Page[InstalledOut]:
    """Return a page of what a charger was told, by its ids; who may see a kept profile is told its name."""
    query = select(InstalledProfile).where(InstalledProfile.charger_id == charger_id)
    found = await INSTALLED.slice(session, query, paging)
    ids = {row.profile_id for row in found.rows if row.profile_id is not None}
    kept = {
        row.id: row
        for row in await session.scalars(
            select(ChargingProfile).where(ChargingProfile.id.in_(ids), visible_to(principal))
        )
    }
    shown = []
    for row in found.rows:
        source = kept.get(row.profile_id) if row.profile_id is not None else None
        shown.append(
            InstalledOut.model_validate(
                {
                    **{
                        name: getattr(row, name)
                        for name in InstalledOut.model_fields
                        if name not in {"name", "outdated"}
                    },
                    "name": source.name if source else None,
                    "outdated": source is not None and outdated(row, source),
                }
            )
        )
    return found.page(shown)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a composite schedule follows from, at one connector of one charger. `most_w` None: not known."""

    profiles: tuple[Profile, ...]
    charging_since: datetime | None
    transaction_id: int | None
    phases: int
    most_w: float | None

    def most(self, unit: str) -> float | None:
        """Return what the connector can give at all, in a unit."""
        if self.most_w is None or unit == "W":
            return self.most_w
        return self.most_w / (VOLTAGE * self.phases)


async def running_session(
    session: AsyncSession, charger_id: str, connector_id: int | None = None
) -> Session | None:
    """Return the session that runs at a connector, or the newest at any of the charger."""
    query = (
        select(Session)
        .where(
            Session.charger_id == charger_id,
            true() if connector_id is None else Session.connector_id == connector_id,
            Session.status == SessionStatus.ACTIVE,
            ~Session.unmatched,
        )
        .order_by(Session.occurred_at.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()


async def situation(session: AsyncSession, charger_id: str, connector_id: int) -> Situation:
    """Read what the limits of a connector follow from."""
    rows = await session.scalars(select(InstalledProfile).where(InstalledProfile.charger_id == charger_id))
    running = await running_session(session, charger_id, connector_id)
    connector = await session.get(Connector, (charger_id, connector_id))
    at = connector_id if running is not None else 0
    return Situation(
        profiles=tuple(
            read_profile(row.profile, at if row.connector_id is None else row.connector_id) for row in rows
        ),
        charging_since=running.started_at if running is not None else None,
        transaction_id=running.ocpp_transaction_id if running is not None else None,
        phases=(connector.phases if connector is not None else None) or PHASES,
        most_w=connector.max_power_kw * 1000 if connector is not None and connector.max_power_kw else None,
    )


async def installed_numbers(session: AsyncSession, charger_id: str) -> set[int]:
    """Return the ids of the profiles that a charger was told."""
    query = select(InstalledProfile.charging_profile_id).where(InstalledProfile.charger_id == charger_id)
    return set(await session.scalars(query))
