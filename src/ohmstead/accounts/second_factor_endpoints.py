"""Setting up the second factor, and taking it away again."""

import io
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import segno
from fastapi import APIRouter, Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from ohmstead.accounts import second_factor
from ohmstead.accounts.access import Caller
from ohmstead.accounts.models import User
from ohmstead.accounts.password_change import WrongPassword, check_password
from ohmstead.accounts.second_factor import WrongCode
from ohmstead.accounts.sign_in import load
from ohmstead.accounts.sign_in_schemas import (
    Disabling,
    Enrolment,
    FirstCode,
    Proof,
    RecoveryCodes,
    SecondFactorState,
)
from ohmstead.core.config import Settings
from ohmstead.core.errors import Conflict
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth/second-factor", tags=["Auth"])

Done = TypeVar("Done")

LIMITED = refuses(429, "Too many wrong codes or passwords; see `Retry-After`.")


async def proved(request: Request, principal: Caller, now: Now, body: Proof) -> User:
    """Return the caller, who has shown its password once more."""
    state = request.app.state
    address = request.client.host if request.client else ""
    return await check_password(
        state.database, state.settings, principal, body.password, address=address, now=now
    )


@router.get("", response_model=SecondFactorState)
async def get_second_factor(request: Request, session: UnitOfWork, principal: Caller) -> SecondFactorState:
    """Tell whether the caller has a second factor, and whether its role needs one."""
    return SecondFactorState(
        enabled=await second_factor.in_use(session, principal.user_id) is not None,
        required=principal.role in request.app.state.settings.second_factor_roles,
        recovery_codes_left=await second_factor.recovery_codes_left(session, principal.user_id),
    )


@router.post(
    "", response_model=Enrolment, responses={**LIMITED, **refuses(409, "There is one already: disable it.")}
)
async def set_up_second_factor(
    request: Request, session: UnitOfWork, known: Annotated[User, Depends(proved)]
) -> Enrolment:
    """Begin to use an authenticator app: scan the QR code with it, then confirm with a first code."""
    user, _, _ = await load(session, known.id)  # locked: of several at once the last one counts
    if user.password_hash != known.password_hash:
        raise WrongPassword
    made = await second_factor.enrol(session, request.app.state.settings, user)
    code = segno.make(made.uri, error="m")
    svg = io.BytesIO()
    code.save(svg, kind="svg", scale=4, xmldecl=False)
    return Enrolment(
        secret=made.secret,
        uri=made.uri,
        qr_svg=svg.getvalue().decode(),
        qr_png=code.png_data_uri(scale=6),
    )


@router.post(
    "/confirm",
    response_model=RecoveryCodes,
    responses={**LIMITED, **refuses(409, "There is nothing to confirm.")},
)
async def confirm_second_factor(
    body: FirstCode, request: Request, principal: Caller, now: Now
) -> RecoveryCodes:
    """Put the second factor in use with a first code. The recovery codes are shown this once."""
    state = request.app.state
    async with state.database.session() as session:
        user, _, _ = await load(session, principal.user_id)
        codes = await second_factor.confirm(session, state.settings, user, body.code, now)
    if isinstance(codes, WrongCode):
        raise codes
    return RecoveryCodes(recovery_codes=codes)


@router.post(
    "/recovery-codes",
    response_model=RecoveryCodes,
    responses={**LIMITED, **refuses(409, "There is no second factor.")},
)
async def make_recovery_codes(
    body: FirstCode, request: Request, principal: Caller, now: Now
) -> RecoveryCodes:
    """Make ten new recovery codes; the old ones are void."""
    settings: Settings = request.app.state.settings
    codes = await _with_code(
        request,
        principal,
        body.code,
        now,
        lambda session, user: second_factor.new_recovery_codes(session, settings, user),
    )
    return RecoveryCodes(recovery_codes=codes)


@router.post("/disable", status_code=204, responses={**LIMITED, **refuses(409, "There is no second factor.")})
async def disable_second_factor(request: Request, principal: Caller, now: Now, body: Disabling) -> None:
    """Take the second factor away, with the password and a code (a recovery code does too)."""
    await proved(request, principal, now, body)
    await _with_code(request, principal, body.code, now, second_factor.reset_second_factor)


async def _with_code(
    request: Request,
    principal: Caller,
    code: str,
    now: Now,
    then: Callable[[AsyncSession, User], Awaitable[Done]],
) -> Done:
    """Check a code of the caller's second factor and do with its user what it opens, as one change.

    Of a wrong one it is committed that it was tried.
    """
    state = request.app.state
    async with state.database.session() as session:
        user, _, _ = await load(session, principal.user_id)
        factor = await second_factor.in_use(session, user.id)
        if factor is None:
            raise Conflict("You have no second factor.", code="NoSecondFactor")
        wrong = await second_factor.check(session, state.settings, user, factor, code=code, now=now)
        if wrong is None:
            return await then(session, user)
    raise wrong
