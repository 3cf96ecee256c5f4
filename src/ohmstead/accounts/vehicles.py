"""The cars of a driver."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.drivers_models import Vehicle
from ohmstead.accounts.models import User
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.core.errors import Conflict, NotFound

AT_MOST = 20
"""Vehicles of one driver: more are a slip, or mischief."""


async def list_vehicles(session: AsyncSession, driver: User) -> list[Vehicle]:
    """Return the vehicles of a driver, the oldest first."""
    query = select(Vehicle).where(Vehicle.driver_id == driver.id).order_by(Vehicle.created_at, Vehicle.id)
    return list((await session.execute(query)).scalars())


async def add_vehicle(
    session: AsyncSession, driver: User, values: Mapping[str, Any], now: datetime
) -> Vehicle:
    """Add a vehicle. Raises `Conflict` when the driver has one with this plate, or too many."""
    # Held until the commit, so that two at once count each other.
    await session.refresh(driver, with_for_update=True)
    await require_not_erased(session, driver)
    count = await session.scalar(select(func.count()).where(Vehicle.driver_id == driver.id))
    if (count or 0) >= AT_MOST:
        raise Conflict(f"There are {AT_MOST} vehicles. Remove one first.", code="TooManyVehicles")
    vehicle = Vehicle(id=uuid4(), driver_id=driver.id, created_at=now, **values)
    async with refusing(session, _refusals()):
        session.add(vehicle)
    await record_row(session, "vehicle.added", vehicle, person_id=driver.id)
    return vehicle


async def find_vehicle(session: AsyncSession, driver: User, vehicle_id: UUID) -> Vehicle:
    """Return a vehicle of a driver, held until the commit. Raises `NotFound`."""
    query = select(Vehicle).where(Vehicle.id == vehicle_id, Vehicle.driver_id == driver.id)
    vehicle = (await session.execute(query.with_for_update())).scalar_one_or_none()
    if vehicle is None:
        raise NotFound("There is no such vehicle.", code="VehicleNotFound")
    return vehicle


async def change_vehicle(
    session: AsyncSession, driver: User, vehicle_id: UUID, changes: Mapping[str, Any]
) -> Vehicle:
    """Change what is named of a vehicle. Raises `NotFound`, `Conflict` for a plate that the driver has."""
    vehicle = await find_vehicle(session, driver, vehicle_id)
    before = state(vehicle)
    async with refusing(session, _refusals()):
        for name, value in changes.items():
            setattr(vehicle, name, value)
    await record_row(session, "vehicle.updated", vehicle, before, person_id=driver.id)
    return vehicle


async def remove_vehicle(session: AsyncSession, driver: User, vehicle_id: UUID) -> None:
    """Remove a vehicle. Raises `NotFound`."""
    vehicle = await find_vehicle(session, driver, vehicle_id)
    await record_row(session, "vehicle.removed", vehicle, gone=True, person_id=driver.id)
    await session.delete(vehicle)
    await session.flush()


def _refusals() -> dict[str, Conflict]:
    taken = Conflict(
        "There is a vehicle with this plate already.",
        code="VehicleExists",
        fields={"plate": "is there already"},
    )
    return {"uq_accounts_vehicle_plate": taken}
