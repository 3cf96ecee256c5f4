"""Reading users, and what belongs to them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit_endpoints import AuditFilter, entries
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.cards_standing import CardStatus
from ohmstead.accounts.drivers_models import Driver
from ohmstead.accounts.drivers_queries import known_to, normal_nic
from ohmstead.accounts.models import Backoffice, Role, Token, User, UserStatus
from ohmstead.accounts.principal import Principal
from ohmstead.accounts.sign_in_models import SecondFactor, SignInSession
from ohmstead.accounts.users_schemas import UserItem
from ohmstead.core.errors import Forbidden, NotFound
from ohmstead.core.paging import Order, Paging, Slice, containing, text_key, time_key, uuid_key

ORDER = Order(
    keys={"email": text_key(User.email), "created_at": time_key(User.created_at)},
    tie=uuid_key(User.id),
    default="email",
)
CARDS = Order(
    keys={"id_tag": text_key(Token.id_tag), "created_at": time_key(Token.created_at)},
    tie=uuid_key(Token.id),
    default="id_tag",
)
SIGN_INS = Order(
    keys={"used_at": time_key(SignInSession.used_at)}, tie=uuid_key(SignInSession.id), default="-used_at"
)


def visible_to(principal: Principal) -> ColumnElement[bool]:
    """Return the condition for the users that somebody sees.

    A SystemAdmin all, a Backoffice those of its business and the drivers that it knows, others none.
    """
    if principal.role is Role.SYSTEM_ADMIN:
        return true()
    if principal.role is Role.BACKOFFICE and principal.backoffice_id is not None:
        return or_(User.backoffice_id == principal.backoffice_id, known_to(principal.backoffice_id))
    return false()


async def list_users(
    session: AsyncSession,
    principal: Principal,
    paging: Paging,
    *,
    role: Role | None = None,
    status: UserStatus | None = None,
    backoffice_id: UUID | None = None,
    sort: str | None = None,
) -> Slice[User]:
    """Return a page of the users that the caller sees; `q` searches e-mail, name and NIC."""
    query = select(User).where(visible_to(principal))
    if paging.q is not None:
        nic = exists().where(
            Driver.user_id == User.id, Driver.nic.contains(normal_nic(paging.q), autoescape=True)
        )
        query = query.where(or_(containing(paging.q, User.email, User.name), nic))
    for column, value in ((User.role, role), (User.status, status), (User.backoffice_id, backoffice_id)):
        if value is not None:
            query = query.where(column == value)
    return await ORDER.slice(session, query, paging, sort)


async def find_user(
    session: AsyncSession, principal: Principal, user_id: UUID, *, locked: bool = False
) -> User:
    """Return a user that the caller sees; `locked` holds it. Raises `NotFound`."""
    query = select(User).where(User.id == user_id, visible_to(principal))
    if locked:
        query = query.with_for_update().execution_options(populate_existing=True)
    user = (await session.execute(query)).scalar_one_or_none()
    if user is None:
        raise NotFound("There is no such user.")
    return user


async def user_with_business(session: AsyncSession, user_id: UUID) -> tuple[User, Backoffice | None]:
    """Return a user that exists and its business."""
    query = (
        select(User, Backoffice)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .where(User.id == user_id)
    )
    return (await session.execute(query)).one()


async def shown(session: AsyncSession, users: Sequence[User]) -> list[UserItem]:
    """Return users as they go out."""
    ids = [user.id for user in users]
    found = await session.execute(select(Driver.user_id, Driver.nic).where(Driver.user_id.in_(ids)))
    nics = {row.user_id: row.nic for row in found}
    confirmed = select(SecondFactor.user_id).where(
        SecondFactor.user_id.in_(ids), SecondFactor.confirmed_at.is_not(None)
    )
    factors = set(await session.scalars(confirmed))
    told = UserItem.model_fields.keys() - {"nic", "second_factor", "invited"}
    return [
        UserItem(
            **{name: getattr(user, name) for name in told},
            nic=nics.get(user.id),
            second_factor=user.id in factors,
            invited=user.password_hash is None and user.role != Role.EV_OWNER,
        )
        for user in users
    ]


async def sign_ins(
    session: AsyncSession, principal: Principal, user_id: UUID, paging: Paging, now: datetime
) -> Slice[SignInSession]:
    """Return where a user is signed in. Of drivers only a SystemAdmin sees it (`Forbidden`)."""
    user = await find_user(session, principal, user_id)
    if user.role == Role.EV_OWNER and principal.role is not Role.SYSTEM_ADMIN:
        raise Forbidden("Where drivers are signed in is nobody's business but theirs. Ask a SystemAdmin.")
    query = select(SignInSession).where(SignInSession.user_id == user.id, SignInSession.expires_at > now)
    return await SIGN_INS.slice(session, query, paging)


async def cards(session: AsyncSession, principal: Principal, user_id: UUID, paging: Paging) -> Slice[Token]:
    """Return a driver's cards; `q` searches the tag. Raises `NotFound`."""
    user = await find_user(session, principal, user_id)
    query = select(Token).where(
        Token.driver_id == user.id,
        Token.card_status.is_distinct_from(CardStatus.REMOVED),
        containing(paging.q, Token.id_tag),
    )
    return await CARDS.slice(session, query, paging)


async def history(session: AsyncSession, principal: Principal, user_id: UUID) -> Select[AuditEntry]:
    """Select what was done to a user and by it, as far as the caller may read the trail.

    Raises `NotFound`.
    """
    user = await find_user(session, principal, user_id)
    return entries(principal, AuditFilter()).where(
        or_(
            AuditEntry.person_id == user.id,
            (AuditEntry.entity == "user") & (AuditEntry.entity_id == str(user.id)),
            (AuditEntry.actor_kind == "user") & (AuditEntry.actor_id == str(user.id)),
        )
    )
