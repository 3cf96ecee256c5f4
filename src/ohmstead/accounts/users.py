"""Who may do what: inviting staff, changing users and their roles.

- Nobody gives a role above its own, nor changes somebody whose role is not below its own; SystemAdmins change
  each other.
- There is always a SystemAdmin who can sign in.
- Of a driver a business changes only whether it may charge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record_row, state
from ohmstead.accounts.business_stations import require_own_stations
from ohmstead.accounts.drivers import send_verification
from ohmstead.accounts.email_change import set_email
from ohmstead.accounts.invites import invite
from ohmstead.accounts.models import BUSINESS_ROLES, Backoffice, BackofficeStatus, Role, User, UserStatus
from ohmstead.accounts.new_users import add_user
from ohmstead.accounts.oidc_models import Identity
from ohmstead.accounts.personal_data_standing import require_not_erased
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.refresh_tokens import end_sessions
from ohmstead.accounts.second_factor import reset_second_factor
from ohmstead.accounts.users_queries import find_user
from ohmstead.accounts.users_schemas import UserInvite
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, Forbidden, Invalid

RANK = {Role.EV_OWNER: 0, Role.OPERATOR: 1, Role.BACKOFFICE: 2, Role.SYSTEM_ADMIN: 3}
RIGHTS = ("role", "status", "backoffice_id", "operator_station_ids")


@dataclass(frozen=True, slots=True)
class UserChanged:
    """A user after a change; `rights` tells whether what it may do, or how it signs in, is different now.

    Whoever changes rights ends the user's live connections once the change is committed.
    """

    user: User
    rights: bool


async def invite_user(
    session: AsyncSession, settings: Settings, principal: Principal, wanted: UserInvite, now: datetime
) -> User:
    """Make an account for somebody who is to work here, and mail the invitation.

    Raises `Forbidden` for a role above the caller's or another business, `Invalid`, and `Conflict` for an
    address that has an account.
    """
    if wanted.role is Role.EV_OWNER:
        raise Invalid("Drivers register by themselves: POST /api/evowner.", fields={"role": "is no staff"})
    _require_rank(principal, wanted.role)
    backoffice_id = wanted.backoffice_id
    if principal.role is not Role.SYSTEM_ADMIN:
        if backoffice_id not in {None, principal.backoffice_id}:
            raise Forbidden("You can invite people to your own business only. Leave backoffice_id out.")
        backoffice_id = principal.backoffice_id
    user = User(
        id=uuid4(),
        email=wanted.email,
        name=wanted.name,
        phone=wanted.phone,
        role=wanted.role,
        status=UserStatus.ACTIVE,
        backoffice_id=backoffice_id,
        operator_station_ids=list(dict.fromkeys(wanted.operator_station_ids)),
        created_at=now,
    )
    await _require_fitting(session, user)
    await _require_own_stations(session, user)
    await add_user(session, user)
    await record_row(session, "user.created", user, person_id=user.id)
    await invite(session, settings, user, now, invited_by=await _name_of(session, principal))
    return user


async def invite_again(
    session: AsyncSession, settings: Settings, principal: Principal, user_id: UUID, now: datetime
) -> User:
    """Mail another invitation to somebody who has no password yet; the earlier link is void.

    Raises `NotFound`, `Forbidden`, and `Conflict` for somebody who has a password.
    """
    user = await find_user(session, principal, user_id, locked=True)
    _require_below(principal, user)
    await invite(session, settings, user, now, invited_by=await _name_of(session, principal))
    return user


async def change_user(
    session: AsyncSession,
    settings: Settings,
    principal: Principal,
    user_id: UUID,
    changes: Mapping[str, Any],
    *,
    reason: str | None = None,
    now: datetime,
) -> UserChanged:
    """Change the named members of a user, and nothing else; `reason` goes into the audit trail.

    Another address holds at once: the old one is told, the user is signed out, and a driver is mailed a link
    to verify it. One's own is not changed here. Raises `NotFound` for a user that the caller does not see,
    `Forbidden`, `Invalid`, and `Conflict` for an address that has an account and for what would lock the
    caller or everybody out.
    """
    if {"role", "status"} & changes.keys():  # one after the other: two could take each other's role at once
        await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended("accounts:roles", 0))))
    user = await find_user(session, principal, user_id, locked=True)
    _require_allowed(principal, user, changes)
    await require_not_erased(session, user)
    before, was_admin = state(user), _is_admin(user)
    changes = dict(changes)
    email = changes.pop("email", user.email)
    for name, value in changes.items():
        setattr(user, name, list(dict.fromkeys(value)) if name == "operator_station_ids" else value)
    if "role" in changes and user.role not in BUSINESS_ROLES and "backoffice_id" not in changes:
        user.backoffice_id = None
    moved = user.backoffice_id != before["backoffice_id"] or user.role != before["role"]
    if moved and "operator_station_ids" not in changes:
        user.operator_station_ids = []
    if "operator_station_ids" in changes and user.role != Role.OPERATOR:
        raise Invalid("Only an Operator has stations.", fields={"operator_station_ids": "must be absent"})
    if moved:
        await _require_fitting(session, user)
    if "operator_station_ids" in changes:
        await _require_own_stations(session, user)
    if was_admin and not _is_admin(user):
        await require_another_admin(session, user.id)
    await session.flush()
    if user.status != before["status"] and user.role != Role.EV_OWNER:
        await end_sessions(session, user.id)
    if email != user.email:
        await set_email(session, settings, user, email, keep=None, now=now)
        if user.role == Role.EV_OWNER:
            await send_verification(session, settings, user, now)
    # A driver belongs to no business: who reads of it is the one that did it.
    at = principal if before["role"] == Role.EV_OWNER else user
    await record_row(session, "user.updated", user, before, reason=reason, person_id=user.id, at=at)
    return UserChanged(user, rights=any(before[name] != getattr(user, name) for name in (*RIGHTS, "email")))


async def remove_second_factor(
    session: AsyncSession, principal: Principal, user_id: UUID, *, reason: str | None
) -> bool:
    """Take the second factor of a user away, who has lost it; False when there was none.

    Raises `NotFound`, and `Forbidden` for one that is not below the caller, drivers too, and for the own one.
    """
    user = await find_user(session, principal, user_id, locked=True)
    _require_below(principal, user)
    if user.id == principal.user_id:
        raise Forbidden(
            "Your own second factor is taken away with your password and a code (a recovery code does too):"
            " POST /api/auth/second-factor/disable."
        )
    return await reset_second_factor(session, user, reason=reason)


async def require_another_admin(session: AsyncSession, user_id: UUID) -> None:
    """Raise `Conflict` when nobody but this user is a SystemAdmin who can sign in.

    One who was invited and has not chosen a password yet cannot, unless it signs in elsewhere.
    """
    others = select(User.id).where(
        User.role == Role.SYSTEM_ADMIN,
        User.status == UserStatus.ACTIVE,
        User.id != user_id,
        or_(User.password_hash.is_not(None), exists().where(Identity.user_id == User.id)),
    )
    if (await session.execute(others.limit(1))).first() is None:
        raise Conflict(
            "This is the last SystemAdmin who can sign in. Make another one first.", code="LastSystemAdmin"
        )


def _is_admin(user: User) -> bool:
    return user.role == Role.SYSTEM_ADMIN and user.status == UserStatus.ACTIVE


def _require_allowed(principal: Principal, user: User, changes: Mapping[str, Any]) -> None:
    """Raise what forbids the caller to make these changes to this user."""
    if user.id == principal.user_id and changes.get("status") == UserStatus.DEACTIVATED:
        raise Conflict("You cannot deactivate yourself. Let another SystemAdmin do it.")
    if user.id == principal.user_id and changes.get("role", user.role) != user.role:
        raise Conflict("You cannot change your own role. Let another SystemAdmin do it.")
    if user.id == principal.user_id and changes.get("email", user.email) != user.email:
        raise Invalid(
            "Your own address is changed with your password, by a link that is mailed: POST /api/auth/email.",
            fields={"email": "is changed by POST /api/auth/email"},
        )
    if principal.role is Role.SYSTEM_ADMIN:
        return
    if user.role == Role.EV_OWNER:
        if changes.keys() - {"status"}:
            raise Forbidden(
                "Of a driver you can change `status` only. What else there is belongs to the driver."
            )
        return
    _require_below(principal, user)
    if changes.get("backoffice_id", user.backoffice_id) != user.backoffice_id:
        raise Forbidden("Only a SystemAdmin moves somebody to another business.")
    role = Role(changes.get("role", user.role))
    _require_rank(principal, role)
    if role is Role.EV_OWNER:
        raise Forbidden("Only a SystemAdmin makes a driver of somebody. Deactivate the account instead.")


def _require_below(principal: Principal, user: User) -> None:
    if principal.role is Role.SYSTEM_ADMIN:
        return
    if user.role == Role.EV_OWNER or RANK[Role(user.role)] >= RANK[principal.role]:
        raise Forbidden("You can change the Operators of your business only. Ask a SystemAdmin.")


def _require_rank(principal: Principal, role: Role) -> None:
    if RANK[role] > RANK[principal.role]:
        raise Forbidden(f"You cannot give the role {role}: it is above your own.")


async def _require_fitting(session: AsyncSession, user: User) -> None:
    """Raise `Invalid` where role, business and stations do not go together."""
    if user.role in BUSINESS_ROLES:
        if user.backoffice_id is None:
            raise Invalid(
                f"A user with the role {user.role} belongs to a business.",
                fields={"backoffice_id": "is missing"},
            )
        business = await session.get(Backoffice, user.backoffice_id)
        if business is None or business.status != BackofficeStatus.ACTIVE:
            raise Invalid("There is no such business at work.", fields={"backoffice_id": "is not at work"})
    elif user.backoffice_id is not None:
        raise Invalid(
            f"A user with the role {user.role} belongs to no business.",
            fields={"backoffice_id": "must be absent"},
        )
    if user.role != Role.OPERATOR and user.operator_station_ids:
        raise Invalid("Only an Operator has stations.", fields={"operator_station_ids": "must be absent"})


async def _require_own_stations(session: AsyncSession, user: User) -> None:
    """Raise `Invalid` when somebody is to work at stations that are not of its business."""
    await require_own_stations(
        session,
        user.backoffice_id,
        user.operator_station_ids,
        field="operator_station_ids",
        rule="An Operator works at stations of its own business.",
    )


async def _name_of(session: AsyncSession, principal: Principal) -> str | None:
    caller = await session.get(User, principal.user_id)
    return None if caller is None else caller.name
