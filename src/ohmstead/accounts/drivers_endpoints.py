"""`/api/evowner`: drivers register, keep their profile, and are deactivated and reactivated."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request

from ohmstead.accounts import drivers as service
from ohmstead.accounts.access import Caller
from ohmstead.accounts.drivers_queries import find_driver
from ohmstead.accounts.drivers_schemas import (
    DriverChange,
    DriverIn,
    DriverOut,
    Registered,
    StatusReason,
    driver_of,
)
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.models import UserStatus
from ohmstead.accounts.password_rule import hash_new_password
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/evowner", tags=["Drivers"])

TOO_OFTEN = refuses(429, "Asked for too often from this address; see `Retry-After`.")
OwnerName = Annotated[str, Path(max_length=64, description="The driver's NIC in any case, or its id.")]


@router.post(
    "",
    status_code=201,
    response_model=Registered,
    responses=refuses(409, "The NIC or the e-mail address has an account.") | TOO_OFTEN,
    dependencies=[limited(Subject.REGISTRATION)],
)
async def register_driver(body: DriverIn, request: Request, session: UnitOfWork, now: Now) -> Registered:
    """Register as a driver. The account is active at once; a link to verify the address is mailed."""
    settings = request.app.state.settings
    nic = service.checked_nic(settings, body.nic)
    hashed = await hash_new_password(body.password, body.email, body.name, nic)
    user = await service.register_driver(
        session,
        settings,
        nic=nic,
        name=body.name,
        email=body.email,
        phone=body.phone,
        password_hash=hashed,
        plate=body.plate,
        now=now,
    )
    return Registered(owner_id=user.id, status=UserStatus(user.status))


@router.get("/{nic}", response_model=DriverOut)
async def get_driver(session: UnitOfWork, principal: Caller, nic: OwnerName) -> DriverOut:
    """Show a driver: to itself, to a business that it charged with, to a SystemAdmin."""
    return driver_of(*await find_driver(session, principal, nic))


@router.put(
    "/{nic}",
    response_model=DriverOut,
    responses=refuses(409, "Somebody has the NIC, or the driver has another one."),
)
async def change_driver(
    body: DriverChange, request: Request, session: UnitOfWork, principal: Caller, nic: OwnerName
) -> DriverOut:
    """Change the profile of a driver; what is absent stays."""
    settings, changes = request.app.state.settings, body.model_dump(exclude_unset=True)
    return driver_of(*await service.change_driver(session, settings, principal, nic, changes))


@router.put("/{nic}/deactivate", response_model=DriverOut)
async def deactivate_driver(
    *,
    changed: RightsChanged,
    session: UnitOfWork,
    principal: Caller,
    nic: OwnerName,
    body: StatusReason | None = None,
) -> DriverOut:
    """Deactivate a driver: it still signs in and sees its history, and can neither book nor charge.

    A driver deactivates itself, a Backoffice drivers that charged with it.
    """
    return await _set_status(changed, session, principal, (nic, UserStatus.DEACTIVATED), body)


@router.put("/{nic}/reactivate", response_model=DriverOut)
async def reactivate_driver(
    *,
    changed: RightsChanged,
    session: UnitOfWork,
    principal: Caller,
    nic: OwnerName,
    body: StatusReason | None = None,
) -> DriverOut:
    """Reactivate a driver: a Backoffice those that charged with it, a SystemAdmin all."""
    return await _set_status(changed, session, principal, (nic, UserStatus.ACTIVE), body)


async def _set_status(
    changed: set[UUID],
    session: UnitOfWork,
    principal: Caller,
    wanted: tuple[str, UserStatus],
    body: StatusReason | None,
) -> DriverOut:
    user, known_nic, different = await service.set_driver_status(
        session, principal, *wanted, reason=body.reason if body else None
    )
    if different:
        changed.add(user.id)
    return driver_of(user, known_nic)
