"""Writes of charging profiles: those that are kept, and what is known of those at chargers."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import Conflict, DomainError, Invalid
from ohmstead.energy.composite import Purpose
from ohmstead.energy.models import ChargingProfile, InstalledProfile
from ohmstead.energy.profiles import check_profile
from ohmstead.energy.queries import get_profile
from ohmstead.energy.schemas import ChargingProfileChange, ChargingProfileIn
from ohmstead.stations.service import owner_of_new


async def create_profile(
    session: AsyncSession, principal: Principal, now: datetime, wanted: ChargingProfileIn
) -> ChargingProfile:
    """Keep a profile. Raises `Conflict` for a name that the business has, and `Invalid`."""
    check_profile(wanted.profile)
    backoffice_id = await owner_of_new(session, principal, wanted.backoffice_id)
    if backoffice_id is None:
        raise Invalid(
            "There are several businesses: name the one that the profile is for by `backoffice_id`.",
            fields={"backoffice_id": "is needed"},
        )
    row = ChargingProfile(
        id=uuid4(),
        backoffice_id=backoffice_id,
        name=wanted.name,
        profile=wanted.profile,
        created_at=now,
        updated_at=now,
    )
    async with refusing(session, _refusals(wanted.name)):
        session.add(row)
    await session.refresh(row)
    await record_row(session, "charging_profile.created", row)
    return row


async def change_profile(
    session: AsyncSession,
    principal: Principal,
    now: datetime,
    profile_id: UUID,
    change: ChargingProfileChange,
) -> ChargingProfile:
    """Merge a change into a profile. Chargers keep what they were told until it is given to them again."""
    row = await get_profile(session, principal, profile_id, lock=True)
    given = change.model_fields_set
    before = state(row)
    if "profile" in given:
        check_profile(change.profile)
    async with refusing(session, _refusals(change.name if "name" in given else row.name)):
        for name in given:
            setattr(row, name, getattr(change, name))
        row.updated_at = now
    await record_row(session, "charging_profile.updated", row, before)
    return row


async def delete_profile(session: AsyncSession, principal: Principal, profile_id: UUID) -> None:
    """Delete a profile. Raises `Conflict` while chargers have it, and `NotFound`."""
    row = await get_profile(session, principal, profile_id, lock=True)
    query = select(InstalledProfile.charger_id).where(InstalledProfile.profile_id == row.id)
    chargers = sorted(set(await session.scalars(query)))
    if chargers:
        named = ", ".join(chargers[:5]) + (" and others" if len(chargers) > 5 else "")
        raise Conflict(
            f"The profile is in use at {named}. Clear it there first:"
            f" DELETE /api/admin/chargers/<id>/charging-profiles?id={row.number}.",
            code="ProfileInUse",
        )
    await record_row(session, "charging_profile.deleted", row, gone=True)
    await session.delete(row)
    await session.flush()


def _refusals(name: str) -> dict[str, DomainError]:
    return {
        "uq_energy_profile_name": Conflict(
            f"The business has a charging profile called {name} already. Choose another name.",
            code="ProfileExists",
            fields={"name": "is taken"},
        ),
        "fk_energy_profile_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
    }


async def installed(
    session: AsyncSession, charger_id: str, connector_id: int | None, profile: dict[str, Any], now: datetime
) -> None:
    """Keep what a charger has accepted: in place of one with the same id, and of one with the same purpose
    and stack level on the same connector (OCPP 1.6 5.16).
    """
    await _lock(session, charger_id)
    number = profile["chargingProfileId"]
    purpose, level = profile["chargingProfilePurpose"], profile["stackLevel"]
    same_place = (
        (InstalledProfile.connector_id == connector_id)
        & (InstalledProfile.purpose == purpose)
        & (InstalledProfile.stack_level == level)
    )
    await session.execute(
        delete(InstalledProfile).where(
            InstalledProfile.charger_id == charger_id,
            or_(InstalledProfile.charging_profile_id == number, same_place),
        )
    )
    kept = await session.scalar(select(ChargingProfile.id).where(ChargingProfile.number == number))
    await session.execute(
        insert(InstalledProfile).values(
            charger_id=charger_id,
            charging_profile_id=number,
            connector_id=connector_id,
            purpose=purpose,
            stack_level=level,
            transaction_id=profile.get("transactionId"),
            profile=profile,
            profile_id=kept,
            told_at=now,
        )
    )


async def cleared(session: AsyncSession, charger_id: str, criteria: dict[str, Any]) -> list[int]:
    """Forget what a charger no longer has, by the members of ClearChargingProfile.req (OCPP 1.6 6.13).

    An id stands alone; the others must all fit; none at all is everything. Returns the ids.
    """
    await _lock(session, charger_id)
    fits: list[ColumnElement[bool]] = [InstalledProfile.charger_id == charger_id]
    if criteria.get("id") is not None:
        fits.append(InstalledProfile.charging_profile_id == criteria["id"])
    else:
        for name, column in (
            ("connectorId", InstalledProfile.connector_id),
            ("chargingProfilePurpose", InstalledProfile.purpose),
            ("stackLevel", InstalledProfile.stack_level),
        ):
            if criteria.get(name) is not None:
                fits.append(column == criteria[name])
    gone = await session.scalars(
        delete(InstalledProfile).where(*fits).returning(InstalledProfile.charging_profile_id)
    )
    return sorted(gone.all())


async def session_ended(session: AsyncSession, charger_id: str, connector_id: int, *, last: bool) -> None:
    """Forget the TxProfiles of a session that has ended: they end with it (OCPP 1.6 3.13.1).

    Those without a connector may be of any session of the charger: they go with its `last` one.
    """
    await _lock(session, charger_id)
    its_own = InstalledProfile.connector_id == connector_id
    await session.execute(
        delete(InstalledProfile).where(
            InstalledProfile.charger_id == charger_id,
            InstalledProfile.purpose == Purpose.TX,
            or_(its_own, InstalledProfile.connector_id.is_(None)) if last else its_own,
        )
    )


async def _lock(session: AsyncSession, charger_id: str) -> None:
    """Let what is known of one charger's profiles change in one place at a time."""
    key = func.hashtextextended("energy:" + charger_id, 0)
    await session.execute(select(func.pg_advisory_xact_lock(key)))
