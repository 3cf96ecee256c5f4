"""Signing in, and who am I."""

from fastapi import APIRouter, Request, Response

from ohmstead.accounts.access import Caller, principal_of
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.models import Role, UserStatus
from ohmstead.accounts.principal import Debt
from ohmstead.accounts.refresh_cookies import client_of, handed_over, wanted_by
from ohmstead.accounts.schemas import Profile
from ohmstead.accounts.sign_in import SignedInUser, finish_sign_in, sign_in
from ohmstead.accounts.sign_in_schemas import SecondStep, SignedIn, SignIn
from ohmstead.accounts.users_queries import user_with_business
from ohmstead.core.config import Settings
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth", tags=["Auth"])


@router.post(
    "/login",
    response_model=SignedIn,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(401, "Wrong credentials, or the account may not act, or a second factor is asked for."),
        **refuses(429, "Too many attempts; see `Retry-After`."),
    },
)
async def login(body: SignIn, request: Request, response: Response, now: Now) -> SignedIn:
    """Sign in with e-mail address or NIC, and password.

    The answer's `accessToken` goes into the header `Authorization: Bearer ...` of every request. A
    wrong password and an unknown account are answered alike. After ten failures in five minutes
    from one address, attempts on that account from there have to wait, each time twice as long.

    Who has a second factor is answered 401 `SecondFactorRequired`; its `detail` is the challenge for
    `POST /api/auth/login/second-factor`.
    """
    state = request.app.state
    done = await sign_in(
        state.database,
        state.settings,
        username=body.username,
        password=body.password,
        client=client_of(request, wanted_by(request, body.refresh_token)),
        now=now,
    )
    return signed_in_answer(response, state.settings, done)


@router.post(
    "/login/second-factor",
    response_model=SignedIn,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(401, "The code is wrong, or the challenge is over."),
        **refuses(429, "Too many wrong codes; see `Retry-After`."),
    },
)
async def login_second_factor(body: SecondStep, request: Request, response: Response, now: Now) -> SignedIn:
    """Complete a sign-in with a code of the authenticator app, or with a recovery code."""
    state = request.app.state
    done = await finish_sign_in(
        state.database,
        state.settings,
        challenge=body.challenge,
        code=body.code,
        client=client_of(request),
        now=now,
    )
    return signed_in_answer(response, state.settings, done)


def signed_in_answer(response: Response, settings: Settings, done: SignedInUser) -> SignedIn:
    """Return what is answered to who signed in, by whatever means; the cookie goes into `response`."""
    user = done.opened.user
    principal = principal_of(user)
    return SignedIn(
        **handed_over(response, settings, done.opened, done.refresh_by),
        user_id=user.id,
        email=user.email,
        role=principal.role,
        status=UserStatus(user.status),
        backoffice_id=user.backoffice_id,
        operator_station_ids=sorted(principal.station_ids),
        driver_id=user.id if principal.role is Role.EV_OWNER else None,
        owner_nic=done.nic,
        must_change_password=done.debt is Debt.PASSWORD,
        second_factor_missing=done.debt is Debt.SECOND_FACTOR,
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
