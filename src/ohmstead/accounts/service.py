"""Making users and changing what they may do."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.access import BUSINESS_ROLES
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.models import Role, User, UserStatus
from ohmstead.accounts.passwords import hash_password
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.queries import managed_by
from ohmstead.core.config import Settings, SettingsError
from ohmstead.core.errors import Conflict, Forbidden, Invalid, NotFound

logger = logging.getLogger(__name__)

PASSWORD_AT_LEAST = 8


def check_password_rule(password: str) -> None:
    """Raise `Invalid` when a new password is too short."""
    if len(password) < PASSWORD_AT_LEAST:
        fault = f"needs at least {PASSWORD_AT_LEAST} characters"
        raise Invalid(f"The password {fault}.", fields={"password": fault})


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
    check_password_rule(password)
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
    user = User(
        email=address,
        password_hash=await hash_password(password),
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
        logger.warning("no first SystemAdmin made: %s has an account already", settings.admin_email)
        return None
    logger.info("made the first SystemAdmin: %s", admin.email)
    return admin


@dataclass(frozen=True, slots=True)
class UserChanged:
    """A user after a change; `rights` tells whether what it may do is different now.

    Whoever changes rights ends the user's live connections once the change is committed.
    """

    user: User
    rights: bool


async def change_user(
    session: AsyncSession,
    principal: Principal,
    user_id: UUID,
    *,
    status: UserStatus | None = None,
    station_ids: Iterable[UUID] | None = None,
) -> UserChanged:
    """Change whether a user may act and which stations it works at; None keeps what is.

    A SystemAdmin changes everybody, a Backoffice the Operators of its own business. Station ids of
    other businesses give no rights: the business is part of every scope. Raises `NotFound` for a
    user outside of the caller's business, `Forbidden`, `Invalid`, and `Conflict` for an attempt to
    lock oneself out.
    """
    query = select(User).where(User.id == user_id, managed_by(principal)).with_for_update()
    user = (await session.execute(query)).scalar_one_or_none()
    if user is None:
        raise NotFound("There is no such user.")
    if principal.role is not Role.SYSTEM_ADMIN and user.role != Role.OPERATOR:
        raise Forbidden("You can change the Operators of your business only. Ask a SystemAdmin.")
    if user.id == principal.user_id and status is UserStatus.DEACTIVATED:
        raise Conflict("You cannot deactivate yourself. Let another SystemAdmin do it.")
    before = (user.status, set(user.operator_station_ids))
    if station_ids is not None:
        if user.role != Role.OPERATOR:
            raise Invalid("Only an Operator has stations.", fields={"operator_station_ids": "must be absent"})
        user.operator_station_ids = list(dict.fromkeys(station_ids))
    if status is not None:
        user.status = status
    await session.flush()
    return UserChanged(user, rights=before != (user.status, set(user.operator_station_ids)))
