"""Changing a password, and choosing a new one when it is forgotten."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from ohmstead.accounts import password_change
from ohmstead.accounts.access import Caller
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.sign_in_schemas import Asked, ForgottenPassword, NewPassword, PasswordChange
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth", tags=["Auth"])


@router.put(
    "/password",
    status_code=204,
    responses={
        **refuses(409, "The account has no password: have a link to choose one mailed."),
        **refuses(429, "Too many wrong passwords; see `Retry-After`."),
    },
)
async def change_password(body: PasswordChange, request: Request, principal: Caller, now: Now) -> None:
    """Change the own password. Every other device is signed out, and a mail tells of it."""
    state = request.app.state
    address = request.client.host if request.client else ""
    user = await password_change.check_password(
        state.database, state.settings, principal, body.current, address=address, now=now, field="current"
    )
    await password_change.change_password(
        state.database, state.settings, user, body.new, keep=principal.session_id, now=now
    )
    state.live.drop_user(user.id)


@router.post(
    "/password-reset",
    status_code=202,
    response_model=Asked,
    dependencies=[limited(Subject.REGISTRATION)],
    responses=refuses(429, "Asked for too often; see `Retry-After`."),
)
async def ask_for_reset(body: ForgottenPassword, session: UnitOfWork) -> Asked:
    """Ask for a link to a new password by mail. The answer is the same whether there is an account or not."""
    await password_change.ask_for_link(session, body.email)
    return Asked(status="Accepted")


@router.post(
    "/password-reset/{token}",
    status_code=204,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(410, "The link was used, or has expired."),
        **refuses(429, "Asked for too often; see `Retry-After`."),
    },
)
async def reset_password(
    token: Annotated[str, Path(max_length=100, description="From the link that was mailed.")],
    body: NewPassword,
    request: Request,
    now: Now,
) -> None:
    """Choose a new password by the mailed link, once. Every device is signed out; a second factor stays."""
    state = request.app.state
    user_id = await password_change.reset_password(state.database, state.settings, token, body.password, now)
    state.live.drop_user(user_id)
