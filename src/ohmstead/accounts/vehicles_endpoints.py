"""`/api/evowner/{nic}/vehicles`: the cars of a driver."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path

from ohmstead.accounts import vehicles as service
from ohmstead.accounts.access import Caller
from ohmstead.accounts.drivers_endpoints import OwnerName
from ohmstead.accounts.drivers_queries import find_driver
from ohmstead.accounts.drivers_schemas import VehicleChange, VehicleIn, VehicleOut
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/evowner/{nic}/vehicles", tags=["Drivers"])

VehicleId = Annotated[UUID, Path(description="The id of a vehicle.")]
TAKEN = refuses(409, "The driver has a vehicle with this plate, or twenty vehicles.")


@router.get("", response_model=list[VehicleOut])
async def list_vehicles(session: UnitOfWork, principal: Caller, nic: OwnerName) -> list[VehicleOut]:
    """List the vehicles of a driver, the oldest first; there are twenty at most."""
    driver, _ = await find_driver(session, principal, nic)
    return [VehicleOut.model_validate(row) for row in await service.list_vehicles(session, driver)]


@router.post("", status_code=201, response_model=VehicleOut, responses=TAKEN)
async def add_vehicle(
    body: VehicleIn, session: UnitOfWork, principal: Caller, now: Now, nic: OwnerName
) -> VehicleOut:
    """Add a vehicle; only its plate is needed, which the driver has once, in any case."""
    driver, _ = await find_driver(session, principal, nic)
    return VehicleOut.model_validate(await service.add_vehicle(session, driver, body.model_dump(), now))


@router.get("/{vehicle_id}", response_model=VehicleOut)
async def get_vehicle(
    session: UnitOfWork, principal: Caller, nic: OwnerName, vehicle_id: VehicleId
) -> VehicleOut:
    """Show one vehicle."""
    driver, _ = await find_driver(session, principal, nic)
    return VehicleOut.model_validate(await service.find_vehicle(session, driver, vehicle_id))


@router.put("/{vehicle_id}", response_model=VehicleOut, responses=TAKEN)
async def change_vehicle(
    body: VehicleChange, session: UnitOfWork, principal: Caller, nic: OwnerName, vehicle_id: VehicleId
) -> VehicleOut:
    """Change a vehicle; members that are absent stay, null clears what may be empty."""
    driver, _ = await find_driver(session, principal, nic)
    changes = body.model_dump(exclude_unset=True)
    return VehicleOut.model_validate(await service.change_vehicle(session, driver, vehicle_id, changes))


@router.delete("/{vehicle_id}", status_code=204)
async def remove_vehicle(
    session: UnitOfWork, principal: Caller, nic: OwnerName, vehicle_id: VehicleId
) -> None:
    """Remove a vehicle."""
    driver, _ = await find_driver(session, principal, nic)
    await service.remove_vehicle(session, driver, vehicle_id)
