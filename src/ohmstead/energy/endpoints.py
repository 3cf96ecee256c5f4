"""`/api/admin/charging-profiles`: profiles that are kept, to be given to chargers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query

from ohmstead.accounts.access import Caller
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses
from ohmstead.core.paging import Page, Paging
from ohmstead.energy import queries, service
from ohmstead.energy.schemas import ChargingProfileChange, ChargingProfileIn, ChargingProfileOut

router = APIRouter(prefix="/api/admin/charging-profiles", tags=["Smart charging"])

ProfileId = Annotated[UUID, Path(description="The id of a charging profile.")]
TAKEN = refuses(409, "The business has a profile of this name.")


@router.get("")
async def list_charging_profiles(
    session: UnitOfWork,
    principal: Caller,
    paging: Annotated[Paging, Depends()],
    sort: Annotated[str | None, Query(description="`name` or `created_at`; `-` before it: falling.")] = None,
) -> Page[ChargingProfileOut]:
    """List the profiles of the caller's business, by name; `q` searches their names."""
    return await queries.list_profiles(session, principal, paging, sort=sort)


@router.post("", status_code=201, responses=TAKEN)
async def create_charging_profile(
    session: UnitOfWork, principal: Caller, now: Now, body: ChargingProfileIn
) -> ChargingProfileOut:
    """Keep a profile. Nothing is sent: give it to chargers by their own path."""
    row = await service.create_profile(session, principal, now, body)
    return (await queries.show_profiles(session, [row]))[0]


@router.get("/{profile_id}")
async def get_charging_profile(
    session: UnitOfWork, principal: Caller, profile_id: ProfileId
) -> ChargingProfileOut:
    """Show one profile, and how many chargers have it."""
    return (
        await queries.show_profiles(session, [await queries.get_profile(session, principal, profile_id)])
    )[0]


@router.put("/{profile_id}", responses=TAKEN)
async def change_charging_profile(
    session: UnitOfWork, principal: Caller, now: Now, profile_id: ProfileId, body: ChargingProfileChange
) -> ChargingProfileOut:
    """Change what the body names. Chargers keep what they were told, and are outdated until told anew."""
    row = await service.change_profile(session, principal, now, profile_id, body)
    return (await queries.show_profiles(session, [row]))[0]


@router.delete("/{profile_id}", status_code=204, responses=refuses(409, "Chargers have it."))
async def delete_charging_profile(session: UnitOfWork, principal: Caller, profile_id: ProfileId) -> None:
    """Delete a profile that no charger has."""
    await service.delete_profile(session, principal, profile_id)
