"""`/api/auth/invite`: the link of an invitation. Whoever has it chooses the password of the account."""

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field

from ohmstead.accounts.invites import accept_invite, show_invite
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.models import Role
from ohmstead.accounts.schemas import CamelSchema, Password
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth/invite", tags=["Auth"])

InviteToken = Annotated[str, Path(max_length=200, description="What stands at the end of the mailed link.")]
OVER = refuses(410, "The link was used, has expired, or is not valid any more.")


class Invite(CamelSchema):
    """Who is invited, and as what."""

    email: str
    name: str | None
    role: Role


class ChosenPassword(CamelSchema):
    """The password that somebody chose."""

    password: Password = Field(json_schema_extra={"format": "password"})


@router.get("/{token}", response_model=Invite, responses=OVER)
async def get_invite(token: InviteToken, request: Request, session: UnitOfWork, now: Now) -> Invite:
    """Show who is invited by a link, and as what. It is not used up by that."""
    return Invite.model_validate(await show_invite(session, request.app.state.settings, token, now))


@router.post(
    "/{token}",
    status_code=204,
    dependencies=[limited(Subject.SIGN_IN)],
    responses=OVER | refuses(429, "Asked for too often from this address; see `Retry-After`."),
)
async def use_invite(token: InviteToken, body: ChosenPassword, request: Request, now: Now) -> None:
    """Choose the password of the account; then sign in with it. The link is used up by that."""
    state = request.app.state
    await accept_invite(state.database, state.settings, token, body.password, now)
