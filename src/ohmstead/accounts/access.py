"""Who may use an endpoint: a bearer token is turned into a principal, by the user's row of this moment."""

from datetime import datetime
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import access_tokens
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role, User, UserStatus
from ohmstead.accounts.permissions import permission_for
from ohmstead.accounts.principal import Principal
from ohmstead.core.acting import Acting, signed_in
from ohmstead.core.config import Settings
from ohmstead.core.errors import Forbidden, Unauthenticated
from ohmstead.core.http import Now

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="AccessToken",
    bearerFormat="JWT",
    description="The `accessToken` that `POST /api/auth/login` answers.",
)
"""Not the one that refuses: every refusal has the one error shape."""

BUSINESS_ROLES = frozenset({Role.BACKOFFICE, Role.OPERATOR})
"""These act for a business, and only while it is at work."""

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]


async def authenticate(session: AsyncSession, settings: Settings, token: str, now: datetime) -> Principal:
    """Return who holds a token, with the rights that the database gives at this moment.

    Raises `Unauthenticated` for a token that is not valid, a user who is gone or deactivated, and a
    business that is not at work.
    """
    claims = access_tokens.read(settings, token, now)
    query = (
        select(User, Backoffice.status)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .where(User.id == claims.user_id)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise Unauthenticated("The account of this access token does not exist any more.")
    user, business = row
    check_standing(user, business)
    return principal_of(user)


def check_standing(user: User, business_status: str | None) -> None:
    """Raise `Unauthenticated` with the reason, in a code of its own, when a user may not act now.

    `business_status` is that of the user's business, None when it has none.
    """
    if user.status != UserStatus.ACTIVE:
        raise Unauthenticated(
            "This account is deactivated. Ask your administrator to activate it.", code="AccountDeactivated"
        )
    if business_status == BackofficeStatus.PENDING_APPROVAL:
        raise Unauthenticated(
            "Your business waits for approval. You can sign in when it is approved.",
            code="BusinessPendingApproval",
        )
    if business_status == BackofficeStatus.REJECTED:
        raise Unauthenticated("Your business was not approved.", code="BusinessRejected")
    if business_status != BackofficeStatus.ACTIVE and Role(user.role) in BUSINESS_ROLES:
        raise Unauthenticated(
            "This account belongs to no business. Ask your administrator.", code="BusinessMissing"
        )


def principal_of(user: User) -> Principal:
    """Return a user as the principal that its row makes it; only an Operator has stations."""
    role = Role(user.role)
    return Principal(
        user_id=user.id,
        email=user.email,
        role=role,
        backoffice_id=user.backoffice_id,
        station_ids=frozenset(user.operator_station_ids) if role is Role.OPERATOR else frozenset(),
    )


def acting_of(known: Principal) -> Acting:
    """Return a user as the audit trail writes it."""
    return Acting(
        kind="user",
        id=str(known.user_id),
        role=known.role,
        person_id=known.user_id,
        email=known.email,
        backoffice_id=known.backoffice_id,
        station_ids=known.station_ids,
    )


async def caller(request: Request, now: Now, credentials: Credentials) -> Principal:
    """Return who calls an endpoint, when the table of permissions lets that role use its route.

    Without a valid token it raises `Unauthenticated` (401), for a role that may not `Forbidden` (403).
    """
    if credentials is None:
        raise Unauthenticated("Sign in first: send the header 'Authorization: Bearer <accessToken>'.")
    state = request.app.state
    # A unit of work of its own, over before the endpoint begins: some wait long for a charger.
    async with state.database.session() as session:
        known = await authenticate(session, state.settings, credentials.credentials, now)
    request.state.user_id = known.user_id
    structlog.contextvars.bind_contextvars(user_id=str(known.user_id))
    signed_in(acting_of(known))
    permission = permission_for(request.method, request.scope["route"].path)
    if known.role not in permission.roles:
        needed = " or ".join(sorted(permission.roles))
        raise Forbidden(f"This needs the role {needed}; yours is {known.role}.")
    return known


Caller = Annotated[Principal, Depends(caller)]
"""Who calls an endpoint. Which roles may is said by the table in `accounts.permissions`, and only there."""
