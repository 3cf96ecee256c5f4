"""Making users."""

import logging
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.business_stations import require_own_stations
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.models import BUSINESS_ROLES, Role, User, UserStatus
from ohmstead.accounts.password_rule import hash_new_password
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.errors import Conflict, Invalid

logger = logging.getLogger(__name__)


async def create_user(
    session: AsyncSession,
    *,
    email: str,
    password: str,
    role: Role,
    backoffice_id: UUID | None = None,
    station_ids: Iterable[UUID] = (),
) -> User:
    """Make an active user and return it.

    A Backoffice or an Operator belongs to a business, the other roles to none; only an Operator
    has stations. Raises `Invalid` for an input that breaks a rule, `Conflict` when the e-mail
    address (in any case) has an account.
    """
    address = normalise_email(email)
    stations = list(dict.fromkeys(station_ids))
    if role in BUSINESS_ROLES and backoffice_id is None:
        raise Invalid(
            f"A user with the role {role} belongs to a business.", fields={"backoffice_id": "missing"}
        )
    if role not in BUSINESS_ROLES and backoffice_id is not None:
        raise Invalid(
            f"A user with the role {role} belongs to no business.", fields={"backoffice_id": "must be absent"}
        )
    if stations and role is not Role.OPERATOR:
        raise Invalid("Only an Operator has stations.", fields={"operator_station_ids": "must be empty"})
    rule = "An Operator works at stations of its own business."
    await require_own_stations(session, backoffice_id, stations, field="operator_station_ids", rule=rule)
    user = User(
        email=address,
        password_hash=await hash_new_password(password, address),
        role=role,
        status=UserStatus.ACTIVE,
        backoffice_id=backoffice_id,
        operator_station_ids=stations,
    )
    refusals = {
        "uq_accounts_user_email": Conflict(f"There is an account with the e-mail address {address} already."),
        "fk_accounts_user_backoffice_id": Invalid(
            "There is no such business.", fields={"backoffice_id": "unknown"}
        ),
    }
    async with refusing(session, refusals):
        session.add(user)
    return user


async def ensure_admin(session: AsyncSession, settings: Settings) -> User | None:
    """Make the first SystemAdmin from the settings; return it, or None when there was nothing to do.

    Does nothing without `OHMSTEAD_ADMIN_EMAIL`, or when there is a SystemAdmin: an account that was
    renamed or whose password was changed is not brought back by a restart. Two processes that start
    at once make one. Raises `SettingsError` when e-mail or password break the rules of accounts.
    """
    if settings.admin_email is None or settings.admin_password is None:
        return None
    query = select(User.id).where(User.role == Role.SYSTEM_ADMIN).limit(1)
    if (await session.execute(query)).first() is not None:
        return None
    try:
        admin = await create_user(
            session,
            email=settings.admin_email,
            password=settings.admin_password.get_secret_value(),
            role=Role.SYSTEM_ADMIN,
        )
    except Invalid as error:
        name = "OHMSTEAD_ADMIN_PASSWORD" if "password" in error.fields else "OHMSTEAD_ADMIN_EMAIL"
        raise SettingsError([f"{name}: {fault}" for fault in error.fields.values()]) from error
    except Conflict:
        logger.warning("no first SystemAdmin made: the OHMSTEAD_ADMIN_EMAIL has an account already")
        return None
    await record(session, "user.created", entity="user", entity_id=admin.id, after={"role": admin.role})
    logger.info("made the first SystemAdmin: user %s", admin.id)
    return admin
