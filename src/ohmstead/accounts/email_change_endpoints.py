"""`/api/auth/email`: another e-mail address for oneself."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import StringConstraints

from ohmstead.accounts import email_change
from ohmstead.accounts.access import Caller
from ohmstead.accounts.drivers_schemas import Address
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.password_change import check_password
from ohmstead.accounts.schemas import CamelSchema
from ohmstead.accounts.sign_in_schemas import Asked, Proof
from ohmstead.accounts.texts import Email
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth/email", tags=["Auth"])

TOO_OFTEN = refuses(429, "Asked for too often, or too many wrong passwords; see `Retry-After`.")


class EmailWish(Proof):
    """The address that somebody wants to have here, and its present password."""

    email: Email


class EmailLink(CamelSchema):
    """What stands at the end of the mailed link."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=200)]


@router.post(
    "",
    status_code=202,
    response_model=Asked,
    dependencies=[limited(Subject.REGISTRATION)],
    responses=TOO_OFTEN,
)
async def ask_for_email_change(body: EmailWish, request: Request, principal: Caller, now: Now) -> Asked:
    """Ask for another e-mail address: a link is mailed there, good once and for a day.

    The answer is the same when the address has an account: its owner is told then, and no link is sent. The
    present address is told in either case; a new password makes the link void.
    """
    state = request.app.state
    address = request.client.host if request.client else ""
    user = await check_password(
        state.database, state.settings, principal, body.password, address=address, now=now
    )
    async with state.database.session() as session:
        await email_change.ask_for_change(
            session, state.settings, user, body.email, session_id=principal.session_id, now=now
        )
    return Asked(status="Accepted")


@router.post(
    "/confirm",
    response_model=Address,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(409, "Somebody else has the address by now."),
        **refuses(410, "The link was used, has expired, or is not valid any more."),
        **refuses(429, "Asked for too often; see `Retry-After`."),
    },
)
async def change_email(
    *, changed: RightsChanged, body: EmailLink, request: Request, session: UnitOfWork, now: Now
) -> Address:
    """Change the address by what stands at the end of the mailed link.

    Every device is signed out but the one that asked for it, and the old address is told.
    """
    user = await email_change.confirm_change(session, request.app.state.settings, body.token, now)
    changed.add(user.id)
    return Address(email=user.email)
