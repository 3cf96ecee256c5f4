"""Operators: who works at which stations of a business. What they may do follows from their row at once."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import any_, false, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record
from ohmstead.accounts.business_stations import require_own_stations
from ohmstead.accounts.invites import invite
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, User, UserStatus
from ohmstead.accounts.new_users import add_user
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.refresh_tokens import end_sessions
from ohmstead.core.config import Settings
from ohmstead.core.errors import Forbidden, Invalid, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, text_key, time_key, uuid_key
from ohmstead.mail.service import send_mail

ORDER = Order(
    keys={"email": text_key(User.email), "created_at": time_key(User.created_at)},
    tie=uuid_key(User.id),
    default="email",
)


async def create_operator(
    session: AsyncSession,
    settings: Settings,
    principal: Principal,
    *,
    email: str,
    name: str | None,
    phone: str | None,
    password_hash: str | None,
    station_ids: Iterable[UUID],
    backoffice_id: UUID | None,
    now: datetime,
) -> User:
    """Make an operator, with a temporary password or (without its hash) by an invitation that is mailed.

    Of a temporary password nothing is mailed but that there is an account: whoever gave it tells it.
    Raises `Forbidden` for another business, `Invalid` for a business or stations that there are not,
    `Conflict` when the address has an account.
    """
    business = await _business(session, principal, backoffice_id)
    user = User(
        id=uuid4(),
        email=email,
        name=name,
        phone=phone,
        password_hash=password_hash,
        must_change_password=password_hash is not None,
        role=Role.OPERATOR,
        status=UserStatus.ACTIVE,
        backoffice_id=business.id,
        operator_station_ids=await _stations_of(session, business.id, station_ids),
        created_at=now,
    )
    await add_user(session, user)
    await record(
        session,
        "operator.created",
        entity="user",
        entity_id=user.id,
        after=_told(user) | {"temporary_password": password_hash is not None},
        person_id=user.id,
        personal={"email": email, "name": name, "phone": phone},
        backoffice_id=business.id,
    )
    if password_hash is None:
        await invite(session, settings, user, now, invited_by=business.name)
    else:
        await send_mail(
            session,
            settings,
            to=user.email,
            template="operator_created",
            name=user.name or "",
            business=business.name,
            email=user.email,
            url=f"{settings.public_url}/sign-in",
        )
    return user


async def list_operators(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    backoffice_id: UUID | None = None,
    station_id: UUID | None = None,
    sort: str | None = None,
) -> Slice[User]:
    """Return a page of the caller's operators; `q` searches e-mail and name."""
    query = _visible(principal).where(containing(paging.q, User.email, User.name))
    if backoffice_id is not None:
        query = query.where(User.backoffice_id == backoffice_id)
    if station_id is not None:
        query = query.where(station_id == any_(User.operator_station_ids))
    return await ORDER.slice(session, query, paging, sort)


async def find_operator(
    session: AsyncSession, principal: Principal, user_id: UUID, *, locked: bool = False
) -> User:
    """Return an operator of the caller's business; `locked` holds it. Raises `NotFound`."""
    query = _visible(principal).where(User.id == user_id)
    user: User | None = await session.scalar(query.with_for_update() if locked else query)
    if user is None:
        raise NotFound("There is no such operator.", code="OperatorNotFound")
    return user


async def change_operator(
    session: AsyncSession,
    principal: Principal,
    user_id: UUID,
    changes: Mapping[str, Any],
    *,
    reason: str | None = None,
) -> tuple[User, bool]:
    """Change `name`, `phone`, `station_ids`, `backoffice_id`. Returns the operator, and if its rights differ.

    Another business is a SystemAdmin's to give (`Forbidden`); without stations of that business the operator
    has none there. Raises `NotFound`, `Invalid`.
    """
    user = await find_operator(session, principal, user_id, locked=True)
    before, personal = _told(user), {"name": user.name, "phone": user.phone}
    changes = dict(changes)
    stations = changes.pop("station_ids", None)
    wanted = changes.pop("backoffice_id", user.backoffice_id)
    if wanted != user.backoffice_id:
        if principal.role is not Role.SYSTEM_ADMIN:
            raise Forbidden("Only a SystemAdmin moves an operator to another business.")
        user.backoffice_id = (await _business(session, principal, wanted)).id
        stations = stations or []
    if stations is not None:
        user.operator_station_ids = await _stations_of(session, user.backoffice_id, stations)
    for name, value in changes.items():
        setattr(user, name, value)
    await session.flush()
    after, told = _told(user), {"name": user.name, "phone": user.phone}
    if after != before or told != personal:
        await record(
            session,
            "operator.updated",
            entity="user",
            entity_id=user.id,
            before=before,
            after=after,
            reason=reason,
            person_id=user.id,
            personal={"before": personal, "after": told} if told != personal else None,
            backoffice_id=user.backoffice_id,
        )
    return user, after != before


async def set_operator_status(
    session: AsyncSession,
    principal: Principal,
    user_id: UUID,
    status: UserStatus,
    *,
    reason: str | None = None,
) -> tuple[User, bool]:
    """Let an operator act or not; return it and whether that is different now. Raises `NotFound`.

    It is signed out everywhere by both: what it had before it was disabled opens nothing ever after.
    """
    user = await find_operator(session, principal, user_id, locked=True)
    before = user.status
    if before == status:
        return user, False
    user.status = status
    await session.flush()
    await end_sessions(session, user.id)
    await record(
        session,
        "operator.enabled" if status is UserStatus.ACTIVE else "operator.disabled",
        entity="user",
        entity_id=user.id,
        before={"status": before},
        after={"status": status},
        reason=reason,
        person_id=user.id,
        backoffice_id=user.backoffice_id,
    )
    return user, True


async def leave_station(session: AsyncSession, station_id: UUID) -> list[UUID]:
    """Take a station that its business has no more from all who work there; return who they are.

    To be called once the station's row is changed: until the commit nobody else can come to work there.
    """
    query = (
        select(User)
        .where(any_(User.operator_station_ids) == station_id)
        .order_by(User.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    users = (await session.execute(query)).scalars().all()
    for user in users:
        before = _told(user)
        user.operator_station_ids = [one for one in user.operator_station_ids if one != station_id]
        await record(
            session,
            "operator.updated",
            entity="user",
            entity_id=user.id,
            before=before,
            after=_told(user),
            person_id=user.id,
            backoffice_id=user.backoffice_id,
        )
    await session.flush()
    return [user.id for user in users]


def _visible(principal: Principal) -> Any:
    query = select(User).where(User.role == Role.OPERATOR, User.backoffice_id.is_not(None))
    if principal.role is Role.SYSTEM_ADMIN:
        return query
    if principal.role is Role.BACKOFFICE and principal.backoffice_id is not None:
        return query.where(User.backoffice_id == principal.backoffice_id)
    return query.where(false())


async def _business(session: AsyncSession, principal: Principal, asked: UUID | None) -> Backoffice:
    if principal.role is not Role.SYSTEM_ADMIN and asked not in {None, principal.backoffice_id}:
        raise Forbidden("Your operators belong to your own business. Leave backofficeId out.")
    wanted = asked or principal.backoffice_id
    if wanted is None:
        raise Invalid("Say to which business the operator belongs.", fields={"backofficeId": "is missing"})
    row = await session.get(Backoffice, wanted)
    if row is None or row.status != BackofficeStatus.ACTIVE:
        raise Invalid("There is no such business at work.", fields={"backofficeId": "is not at work"})
    return row


async def _stations_of(
    session: AsyncSession, backoffice_id: UUID | None, station_ids: Iterable[UUID]
) -> list[UUID]:
    wanted = list(dict.fromkeys(station_ids))
    rule = "An operator works at stations of its own business."
    await require_own_stations(session, backoffice_id, wanted, field="stationIds", rule=rule)
    return wanted


def _told(user: User) -> dict[str, Any]:
    return {
        "backoffice_id": user.backoffice_id,
        "status": user.status,
        "station_ids": sorted(map(str, user.operator_station_ids)),
    }
