"""Who is who: the accounts of those whom an issuer has confirmed, linked, found by address, or made.

An address is believed only when the issuer says that it has verified it. By it an account is found only when
it is a driver's and has proved the same address here: rights of staff are never given by an address, and
nobody gets into an account that somebody else has made with a foreign address. All others sign in here and
link the two themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.audit import record, record_row, state
from ohmstead.accounts.constraints import refusing
from ohmstead.accounts.emails import looks_like_another, normalise_email
from ohmstead.accounts.models import BUSINESS_ROLES, Role, User, UserStatus
from ohmstead.accounts.oidc_models import Identity, IdentityProvider
from ohmstead.accounts.oidc_roles import role_for
from ohmstead.core.acting import Acting, acting
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict, Invalid, NotFound, Unauthenticated
from ohmstead.mail.service import send_mail

LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Source:
    """Who confirms people, and what its word is good for. `provider_id` None: the third-party tokens."""

    provider_id: UUID | None
    issuer: str
    name: str
    make_users: bool
    require_verified_email: bool = True
    role_rules: Sequence[dict[str, Any]] = ()
    allow_system_admin: bool = False
    backoffice_id: UUID | None = None

    @classmethod
    def of(cls, provider: IdentityProvider) -> Self:
        """Return a provider as a source."""
        return cls(
            provider_id=provider.id,
            issuer=provider.issuer,
            name=provider.name,
            make_users=provider.make_users,
            require_verified_email=provider.require_verified_email,
            role_rules=provider.role_rules,
            allow_system_admin=provider.allow_system_admin,
            backoffice_id=provider.backoffice_id,
        )


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Somebody whom an issuer has confirmed. `email` is in our spelling; None when it told none."""

    source: Source
    subject: str
    email: str | None
    email_verified: bool
    claims: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Known:
    """The account of somebody; `rights_changed` when its role is another than before."""

    user: User
    rights_changed: bool = False


def confirmed_by(source: Source, subject: str, claims: dict[str, Any]) -> Confirmed:
    """Return who somebody is by claims that have been checked.

    A claim `email_verified` that is there counts. Where it is missing, the address is verified only when
    the source need not say so.
    """
    email = claims.get("email")
    verified = claims.get("email_verified", not source.require_verified_email)
    try:
        address = normalise_email(email) if isinstance(email, str) and len(email) <= 254 else None
    except Invalid:
        address = None
    return Confirmed(source, subject, address, verified is True and address is not None, claims)


async def user_for(session: AsyncSession, who: Confirmed, now: datetime) -> Known:
    """Return the account of somebody: the linked one, else one found by address, else a new one.

    Raises `Unauthenticated` with a code that says why there is none. What is changed is in the audit trail.
    """
    found = await _linked(session, who)
    if found is None:
        # Several requests come at once with the first token of somebody: one of them makes the account.
        key = func.hashtextextended(f"{who.source.provider_id} {who.source.issuer} {who.subject}", 0)
        await session.execute(select(func.pg_advisory_xact_lock(key)))
        found = await _linked(session, who)
    if found is None:
        return Known(await _first_sight(session, who, now))
    identity, user = found
    if who.source.provider_id is not None:  # the tokens of a third party come with every request
        identity.last_login_at = now
    if identity.made and who.source.role_rules:
        return Known(user, await _follow_claims(session, who, user))
    return Known(user)


def _is(who: Confirmed) -> ColumnElement[bool]:
    same_provider = Identity.provider_id.is_not_distinct_from(who.source.provider_id)
    condition: ColumnElement[bool] = (
        same_provider & (Identity.issuer == who.source.issuer) & (Identity.subject == who.subject)
    )
    return condition


async def _linked(session: AsyncSession, who: Confirmed) -> tuple[Identity, User] | None:
    query = select(Identity, User).join(User, User.id == Identity.user_id).where(_is(who))
    row = (await session.execute(query)).one_or_none()
    return None if row is None else (row[0], row[1])


async def _first_sight(session: AsyncSession, who: Confirmed, now: datetime) -> User:
    if who.email is None or not who.email_verified:
        raise Unauthenticated(
            f"{who.source.name} does not confirm your e-mail address. Verify it there, or sign in here"
            " and link the two accounts.",
            code="EmailNotVerified",
        )
    user = await session.scalar(select(User).where(func.lower(User.email) == who.email))
    if user is None:
        user = await _make(session, who, who.email, now)
        await _link(session, who, user, made=True, used_at=now)
        return user
    if user.role != Role.EV_OWNER or user.email_verified_at is None:
        raise _account_exists()
    await _link(session, who, user, made=False, used_at=now)
    return user


def _account_exists() -> Unauthenticated:
    return Unauthenticated(
        "There is an account with this e-mail address. Sign in to it and link the two accounts.",
        code="AccountExists",
    )


async def _make(session: AsyncSession, who: Confirmed, email: str, now: datetime) -> User:
    source = who.source
    if not source.make_users:
        raise Unauthenticated(
            f"There is no account for you here, and {source.name} makes none. Ask your administrator.",
            code="NoAccount",
        )
    if looks_like_another(email):
        raise Unauthenticated(
            f"Your e-mail address at {source.name} looks like another one, so no account is made with it. Ask"
            " your administrator.",
            code="EmailRefused",
        )
    role = role_for(source.role_rules, who.claims, allow_system_admin=source.allow_system_admin)
    user = User(
        id=uuid4(),
        email=email,
        role=role,
        status=UserStatus.ACTIVE,
        backoffice_id=source.backoffice_id if role in BUSINESS_ROLES else None,
        operator_station_ids=[],
        name=_name_in(who.claims),
        email_verified_at=now,
    )
    async with refusing(session, {"uq_accounts_user_email": _account_exists()}):
        session.add(user)
    await record(
        session,
        "user.created",
        entity="user",
        entity_id=user.id,
        after={"role": role, "backoffice_id": user.backoffice_id, "provider": source.name},
        person_id=user.id,
        personal={"email": email, "name": user.name},
        backoffice_id=user.backoffice_id,
        by=_itself(user),
    )
    return user


def _name_in(claims: Mapping[str, Any]) -> str | None:
    """Return what somebody is called, of printable characters, as everybody is here."""
    name = claims.get("name")
    if not isinstance(name, str):
        return None
    return "".join(sign for sign in name if sign.isprintable()).strip()[:LONGEST_NAME].strip() or None


def _itself(user: User) -> Acting:
    """Return a user as who is at work, when it has only just become known who that is."""
    return replace(
        acting(),
        kind="user",
        id=str(user.id),
        role=user.role,
        person_id=user.id,
        email=user.email,
        backoffice_id=user.backoffice_id,
    )


async def _link(
    session: AsyncSession, who: Confirmed, user: User, *, made: bool, used_at: datetime | None = None
) -> Identity:
    identity = Identity(
        id=uuid4(),
        provider_id=who.source.provider_id,
        issuer=who.source.issuer,
        subject=who.subject,
        user_id=user.id,
        email=who.email,
        made=made,
        created_at=session.info["clock"].now(),
        last_login_at=used_at,
    )
    taken = Conflict(
        f"This account at {who.source.name} is linked to another account here. Unlink it there first.",
        code="IdentityTaken",
    )
    async with refusing(session, {"uq_accounts_identity_subject": taken}):
        session.add(identity)
    await record_row(
        session,
        "identity.linked",
        identity,
        also={"provider": who.source.name},
        person_id=user.id,
        at=user,
        by=_itself(user),
    )
    return identity


async def _follow_claims(session: AsyncSession, who: Confirmed, user: User) -> bool:
    """Give a user that its provider made the role that the provider's claims say today."""
    source = who.source
    role = role_for(source.role_rules, who.claims, allow_system_admin=source.allow_system_admin)
    business = source.backoffice_id if role in BUSINESS_ROLES else None
    if (user.role, user.backoffice_id) == (role, business):
        return False
    before = state(user)
    user.role, user.backoffice_id = role, business
    user.operator_station_ids = []  # they are another business's, or the role has none
    await session.flush()
    await record_row(
        session,
        "user.role_followed",
        user,
        before,
        also={"provider": source.name},
        person_id=user.id,
        by=_itself(user),
    )
    return True


async def link(session: AsyncSession, settings: Settings, who: Confirmed, user: User) -> Identity:
    """Link somebody whom an issuer has confirmed to the account of `user`, which is held. Twice is once.

    The owner of the account is mailed that there is another way in. Raises `Conflict` when it is linked to
    another account.
    """
    found = await _linked(session, who)
    if found is not None and found[1].id == user.id:
        return found[0]
    identity = await _link(session, who, user, made=False)
    await send_mail(
        session,
        settings,
        to=user.email,
        template="identity_linked",
        name=user.name or "",
        email=user.email,
        provider=who.source.name if who.source.provider_id else who.source.issuer,
        url=f"{settings.public_url}/reset-password",
    )
    return identity


async def unlink(session: AsyncSession, user_id: UUID, identity_id: UUID) -> None:
    """Take an identity from its user. Raises `NotFound`, and `Conflict` for the only way in."""
    user = await session.scalar(select(User).where(User.id == user_id).with_for_update())
    rows = list(await session.scalars(select(Identity).where(Identity.user_id == user_id)))
    identity = next((row for row in rows if row.id == identity_id), None)
    if user is None or identity is None:
        raise NotFound("You have no such identity.")
    if user.password_hash is None and len(rows) == 1:
        raise Conflict(
            "This is the only way into your account. Choose a password first, by 'forgot password'.",
            code="OnlyWayIn",
        )
    await record_row(session, "identity.unlinked", identity, gone=True, person_id=user_id, at=user)
    await session.delete(identity)


async def identities_of(session: AsyncSession, user_id: UUID) -> list[tuple[Identity, str | None]]:
    """Return the identities of a user with the names of their providers, the oldest first."""
    query = (
        select(Identity, IdentityProvider.name)
        .outerjoin(IdentityProvider, IdentityProvider.id == Identity.provider_id)
        .where(Identity.user_id == user_id)
        .order_by(Identity.created_at, Identity.id)
    )
    return [(identity, name) for identity, name in await session.execute(query)]
