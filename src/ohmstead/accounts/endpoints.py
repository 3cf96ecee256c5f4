"""Signing in, and who am I. Refresh tokens, second factors and API keys join here and in `access`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ohmstead.accounts.access import Caller, principal_of
from ohmstead.accounts.models import UserStatus
from ohmstead.accounts.queries import user_with_business
from ohmstead.accounts.schemas import Profile, SignedIn, SignIn
from ohmstead.accounts.sign_in import SignInAttempts, sign_in
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth", tags=["Auth"])


def sign_in_attempts(request: Request) -> SignInAttempts:
    """Return the attempts that this application remembers."""
    state = request.app.state
    if not hasattr(state, "sign_in_attempts"):
        state.sign_in_attempts = SignInAttempts()
    attempts: SignInAttempts = state.sign_in_attempts
    return attempts


@router.post(
    "/login",
    response_model=SignedIn,
    responses={
        **refuses(401, "Wrong credentials, or the account may not act."),
        **refuses(429, "Too many failed attempts; see `Retry-After`."),
    },
)
async def login(
    body: SignIn,
    request: Request,
    now: Now,
    attempts: Annotated[SignInAttempts, Depends(sign_in_attempts)],
) -> SignedIn:
    """Sign in with e-mail address and password.

    The answer's `accessToken` goes into the header `Authorization: Bearer ...` of every request. A
    wrong password and an unknown address are answered alike. After ten failures in five minutes
    from one address, attempts on that account from there have to wait.
    """
    state = request.app.state
    signed_in = await sign_in(
        state.database,
        state.settings,
        attempts,
        username=body.username,
        password=body.password,
        address=request.client.host if request.client else "",
        now=now,
    )
    user = signed_in.user
    principal = principal_of(user)
    return SignedIn(
        access_token=signed_in.access_token,
        expires_in=int((signed_in.expires_at - now).total_seconds()),
        expires_at=signed_in.expires_at,
        user_id=user.id,
        email=user.email,
        role=principal.role,
        backoffice_id=user.backoffice_id,
        operator_station_ids=sorted(principal.station_ids),
    )


@router.get("/me", response_model=Profile)
async def get_profile(session: UnitOfWork, principal: Caller) -> Profile:
    """Return the caller: role, business and stations as they are at this moment, not as in the token."""
    user, business = await user_with_business(session, principal.user_id)
    return Profile(
        user_id=user.id,
        email=user.email,
        role=principal.role,
        status=UserStatus(user.status),
        backoffice_id=user.backoffice_id,
        backoffice_name=business.name if business else None,
        time_zone=business.time_zone if business else None,
        operator_station_ids=sorted(principal.station_ids),
        created_at=user.created_at,
        last_login_at=user.last_login_at,
    )
