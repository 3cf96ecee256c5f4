"""Who may use an endpoint: a bearer token is turned into a principal, by the user's row of this moment."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

import structlog
from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts.access_tokens import AccessClaims
from ohmstead.accounts.api_keys_access import holder_of
from ohmstead.accounts.api_keys_secrets import PREFIX
from ohmstead.accounts.models import (
    BUSINESS_ROLES,
    Backoffice,
    BackofficeStatus,
    Role,
    User,
    UserStatus,
)
from ohmstead.accounts.permissions import PERMISSION_OF, PERMISSIONS
from ohmstead.accounts.personal_data_standing import require_own_not_erased
from ohmstead.accounts.principal import Debt, Principal
from ohmstead.accounts.sign_in_models import SecondFactor, SignInSession
from ohmstead.accounts.third_party_tokens import claims_of
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

api_key_header = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    scheme_name="ApiKey",
    description="The `key` that `POST /api/admin/api-keys` answers; it may be sent as a Bearer token too.",
)

PAYING = frozenset({"self", "sign-ins", "password:change", "second-factor"})
"""The permissions that are left to who has to do something else first."""
LEFT_TO_WHO_IS_ERASED = frozenset({"sign-ins"})
"""The permissions whose changes are left to a driver who is being erased; it may look at everything else."""
DEBTS = {
    Debt.PASSWORD: "Choose a password of your own first: PUT /api/auth/password.",
    Debt.SECOND_FACTOR: "Your role needs a second factor: set one up first, POST /api/auth/second-factor.",
}

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
KeyHeader = Annotated[str | None, Depends(api_key_header)]


async def authenticate(session: AsyncSession, settings: Settings, token: str, now: datetime) -> Principal:
    """Return who holds a token, with the rights that the database gives at this moment.

    Raises `Unauthenticated` for a token that is not valid or whose session has ended, a user who is gone or
    deactivated, and a business that is not at work.
    """
    if token.startswith(PREFIX):
        return (await holder_of(session, settings, token, now)).principal
    return await principal_by(session, settings, await claims_of(session, settings, token, now), now)


async def principal_by(
    session: AsyncSession, settings: Settings, claims: AccessClaims, now: datetime
) -> Principal:
    """Return whom the claims of a token name, as `authenticate` does once it has read them."""
    query = (
        select(User, Backoffice.status, SignInSession.expires_at, SecondFactor.confirmed_at)
        .outerjoin(Backoffice, Backoffice.id == User.backoffice_id)
        .outerjoin(
            SignInSession, (SignInSession.id == claims.session_id) & (SignInSession.user_id == User.id)
        )
        .outerjoin(SecondFactor, SecondFactor.user_id == User.id)
        .where(User.id == claims.user_id)
        .execution_options(populate_existing=True)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        raise Unauthenticated("The account of this access token does not exist any more.")
    user, business, session_ends, second_factor_since = row
    if claims.session_id is not None and (session_ends is None or session_ends <= now):
        raise Unauthenticated("You are signed out. Sign in again.", code="SignedOut")
    check_standing(user, business)
    has_one, shown = second_factor_since is not None, claims.second_factor
    if shown is False and (has_one or user.role in settings.second_factor_roles):
        raise Unauthenticated(
            "Your account asks for a second factor, and this token does not say that one was shown"
            " (`aal` aal2, or mfa in `amr`). Show one where the token is from, or sign in here.",
            code="SecondFactorNotShown",
        )
    debt = debt_of(settings, user, second_factor=has_one or shown is True)
    return replace(principal_of(user), session_id=claims.session_id, debt=debt)


def debt_of(settings: Settings, user: User, *, second_factor: bool) -> Debt | None:
    """Return what a user has to do first; `second_factor` tells whether it has one that is in use."""
    if user.must_change_password:
        return Debt.PASSWORD
    if user.role in settings.second_factor_roles and not second_factor:
        return Debt.SECOND_FACTOR
    return None


def check_standing(user: User, business_status: str | None) -> None:
    """Raise `Unauthenticated` with the reason, in a code of its own, when a user may not act now.

    `business_status` is that of the user's business, None when it has none. A deactivated driver may sign in
    and see what was: what it may not do asks for `require_active`.
    """
    if user.shut_out:
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


def check_verified(settings: Settings, user: User) -> None:
    """Raise `Unauthenticated` for a driver whose address is not verified, where the setting asks for it."""
    if settings.require_verified_email and user.role == Role.EV_OWNER and user.email_verified_at is None:
        raise Unauthenticated(
            "Verify your e-mail address first, by the link that was mailed to you.", code="EmailNotVerified"
        )


def require_active(principal: Principal) -> None:
    """Raise `Forbidden` for a deactivated driver, who can neither book, change, cancel nor start."""
    if not principal.active:
        raise Forbidden(
            "Your account is deactivated. Ask the charging business to reactivate it.",
            code="OwnerDeactivated",
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
        active=user.status == UserStatus.ACTIVE,
    )


def acting_of(known: Principal) -> Acting:
    """Return a user, or a machine with a key, as the audit trail writes it."""
    if known.key_permissions is not None:
        return Acting(
            kind="api_key",
            id=str(known.user_id),
            role=known.role,
            backoffice_id=known.backoffice_id,
            station_ids=known.station_ids,
        )
    return Acting(
        kind="user",
        id=str(known.user_id),
        role=known.role,
        person_id=known.user_id,
        email=known.email,
        backoffice_id=known.backoffice_id,
        station_ids=known.station_ids,
    )


async def caller(request: Request, now: Now, credentials: Credentials, key: KeyHeader) -> Principal:
    """Return who calls an endpoint, when the table of permissions lets that role use its route.

    Without a valid token or key it raises `Unauthenticated` (401), for who may not `Forbidden` (403).
    """
    if credentials is None and key is None:
        raise Unauthenticated("Sign in first: send the header 'Authorization: Bearer <accessToken>'.")
    state = request.app.state
    # A unit of work of its own, over before the endpoint begins: some wait long for a charger.
    name = PERMISSION_OF[f"{request.method} {request.scope['route'].path}"]
    async with state.database.session() as session:
        if credentials is not None:
            known = await authenticate(session, state.settings, credentials.credentials, now)
        else:
            known = (await holder_of(session, state.settings, str(key), now)).principal
        if not (known.active or request.method == "GET" or name in LEFT_TO_WHO_IS_ERASED):
            await require_own_not_erased(session, known.user_id)
    request.state.user_id = known.user_id
    who = "user_id" if known.key_permissions is None else "key_id"
    structlog.contextvars.bind_contextvars(**{who: str(known.user_id)})
    signed_in(acting_of(known))
    if known.debt is not None and name not in PAYING:
        raise Forbidden(DEBTS[known.debt], code=known.debt)
    require_permission(known, name)
    return known


def require_permission(known: Principal, name: str) -> None:
    """Raise `Forbidden` for who does not have a permission, by the role and by what the key was given."""
    roles = PERMISSIONS[name].roles
    if known.role not in roles:
        needed = " or ".join(sorted(roles))
        raise Forbidden(f"This needs the role {needed}; yours is {known.role}.")
    check_key(known, name)


def check_key(known: Principal, permission: str) -> None:
    """Raise `Forbidden` when somebody holds a key that was not given a permission."""
    if known.key_permissions is None:
        return
    if not PERMISSIONS[permission].api_key:
        raise Forbidden("An API key cannot do this: sign in as a user.", code="NotForApiKeys")
    if permission not in known.key_permissions:
        raise Forbidden(f"This API key lacks the permission {permission}.", code="ApiKeyLacksPermission")


Caller = Annotated[Principal, Depends(caller)]
"""Who calls an endpoint. Which roles may is said by the table in `accounts.permissions`, and only there."""
