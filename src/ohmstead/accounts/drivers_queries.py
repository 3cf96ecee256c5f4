"""Finding drivers, and who may see them."""

from uuid import UUID

from sqlalchemy import ColumnElement, column, exists, false, select, table, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.models import Role, Token, TokenStatus, User
from ohmstead.accounts.principal import Principal
from ohmstead.core.errors import NotFound

LONGEST_NIC = 20

_sessions = table("charging_session", column("token_id"), column("backoffice_id"), column("id_tag_status"))
"""Of a domain above this one; what is asked here is only whether there is one."""


def normal_nic(nic: str) -> str:
    """Return the one spelling of a NIC: without blanks, in capitals."""
    return "".join(nic.split()).upper()


async def find_by_nic(session: AsyncSession, nic: str) -> User | None:
    """Return the driver with this national identity card number, in any case."""
    if len(nic) > LONGEST_NIC or "\x00" in nic:
        return None
    query = select(User).join(Driver, Driver.user_id == User.id).where(Driver.nic == normal_nic(nic))
    return (await session.execute(query)).scalar_one_or_none()


async def nic_of(session: AsyncSession, user_id: UUID) -> str | None:
    """Return the national identity card number of a user; None when it gave none."""
    return await session.scalar(select(Driver.nic).where(Driver.user_id == user_id))


def known_to(backoffice_id: UUID) -> ColumnElement[bool]:
    """Return the condition on `User` for the drivers that a business knows: those that charged with it."""
    charged = (
        select(_sessions.c.token_id)
        .join(Token, Token.id == _sessions.c.token_id)
        .where(
            Token.driver_id == User.id,
            _sessions.c.backoffice_id == backoffice_id,
            _sessions.c.id_tag_status == TokenStatus.ACCEPTED,
        )
    )
    return (User.role == Role.EV_OWNER) & exists(charged.correlate(User))


def drivers_of(principal: Principal) -> ColumnElement[bool]:
    """Return the condition on `User` for the drivers that somebody may see and act for.

    A SystemAdmin all, a Backoffice those that it knows, a driver itself, an Operator none.
    """
    driver = User.role == Role.EV_OWNER
    if principal.role is Role.SYSTEM_ADMIN:
        return driver & true()
    if principal.role is Role.BACKOFFICE and principal.backoffice_id is not None:
        return known_to(principal.backoffice_id)
    if principal.role is Role.EV_OWNER:
        return driver & (User.id == principal.user_id)
    return false()


async def find_driver(
    session: AsyncSession, principal: Principal, name: str, *, locked: bool = False
) -> tuple[User, str | None]:
    """Return the driver that a path names by NIC (in any case) or id, and its NIC.

    `locked` holds the row until the commit. Raises `NotFound`, for those of others too.
    """
    query = select(User, Driver.nic).outerjoin(Driver, Driver.user_id == User.id).where(drivers_of(principal))
    try:
        query = query.where(User.id == UUID(name))
    except ValueError:
        if len(name) > LONGEST_NIC or "\x00" in name:
            raise _not_found() from None
        query = query.where(Driver.nic == normal_nic(name))
    if locked:
        query = query.with_for_update(of=User)
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise _not_found()
    user, nic = row
    return user, nic


def _not_found() -> NotFound:
    return NotFound("There is no such driver.", code="OwnerNotFound")
