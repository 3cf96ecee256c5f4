"""Staying signed in, and signing out: here, elsewhere, everywhere."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from ohmstead.accounts import access_tokens, refresh_tokens
from ohmstead.accounts.access import Caller, Credentials
from ohmstead.accounts.audit import record
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.refresh_cookies import RefreshCookie, forget_cookie, handed_over
from ohmstead.accounts.refresh_tokens import RefreshBy, RefreshTokenReused
from ohmstead.accounts.sign_in_schemas import Refresh, SessionItem, Tokens
from ohmstead.accounts.users_endpoints import RightsChanged
from ohmstead.core.acting import Acting, signed_in
from ohmstead.core.errors import NotFound, Unauthenticated
from ohmstead.core.http import Now, UnitOfWork, current_time
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth", tags=["Auth"])


@router.post(
    "/refresh",
    response_model=Tokens,
    # First the time: whether a token comes again is told by when its request came, whoever was waited for.
    dependencies=[Depends(current_time), limited(Subject.SIGN_IN)],
    responses={
        **refuses(401, "The refresh token is not valid any more, or was used before."),
        **refuses(429, "Too many attempts; see `Retry-After`."),
    },
)
async def refresh_tokens_of_session(
    request: Request, response: Response, now: Now, cookie: RefreshCookie = None, body: Refresh | None = None
) -> Tokens:
    """Turn a refresh token in for a new access token and the next refresh token.

    Each is good once. One that is used again ends its session, since somebody may have a copy; two tabs that
    send theirs at once get the same answer. Browsers send theirs as a cookie and get the next one so; apps
    send it in the body.
    """
    state = request.app.state
    given = body.refresh_token if body else None
    token = given or cookie
    if token is None:
        raise Unauthenticated(
            "Send `refreshToken`, or the cookie that the sign-in set, or sign in again.", code="SignedOut"
        )
    address = request.client.host if request.client else None
    try:
        opened = await refresh_tokens.refresh(
            state.database, state.settings, token, address=address, now=now, clock=state.clock
        )
    except RefreshTokenReused as reused:
        state.live.drop_user(reused.user_id)
        raise
    by = RefreshBy.BODY if given else RefreshBy.COOKIE
    return Tokens(**handed_over(response, state.settings, opened, by))


@router.post("/sign-out", status_code=204)
async def sign_out(
    *,
    changed: RightsChanged,
    request: Request,
    response: Response,
    session: UnitOfWork,
    now: Now,
    credentials: Credentials,
    cookie: RefreshCookie = None,
    body: Refresh | None = None,
) -> None:
    """End the session of an access token, of a refresh token, or both; tokens that are over are no fault.

    Its access tokens are not valid from this moment on, and its live connections end.
    """
    settings = request.app.state.settings
    ended: set[tuple[UUID, UUID]] = set()
    for token in filter(None, (body.refresh_token if body else None, cookie)):
        found = await refresh_tokens.session_of(session, settings, token)
        if found is not None:
            ended.add(found)
    if credentials is not None:
        try:
            claims = access_tokens.read(settings, credentials.credentials, now)
        except Unauthenticated:
            claims = None
        if claims is not None and claims.session_id is not None:
            ended.add((claims.session_id, claims.user_id))
    for session_id, user_id in ended:
        if await refresh_tokens.end_session(session, user_id, session_id):
            changed.add(user_id)
            signed_in(Acting(kind="user", id=str(user_id), person_id=user_id))
            await record(session, "user.signed_out", entity="user", entity_id=user_id, person_id=user_id)
    forget_cookie(response, settings)


@router.post("/sign-out-everywhere", status_code=204)
async def sign_out_everywhere(
    *,
    changed: RightsChanged,
    request: Request,
    response: Response,
    session: UnitOfWork,
    principal: Caller,
) -> None:
    """End every session of the caller, this one too: nobody is signed in to this account any more."""
    await refresh_tokens.end_sessions(session, principal.user_id)
    await record(
        session,
        "user.signed_out_everywhere",
        entity="user",
        entity_id=principal.user_id,
        person_id=principal.user_id,
        backoffice_id=principal.backoffice_id,
    )
    changed.add(principal.user_id)
    forget_cookie(response, request.app.state.settings)


@router.get("/sessions", response_model=list[SessionItem])
async def list_own_sessions(session: UnitOfWork, principal: Caller, now: Now) -> list[SessionItem]:
    """List the devices on which the caller is signed in, the one used last first."""
    return [
        SessionItem(
            id=row.id,
            device=row.device,
            address=row.address,
            created_at=row.created_at,
            used_at=row.used_at,
            expires_at=row.expires_at,
            current=row.id == principal.session_id,
        )
        for row in await refresh_tokens.list_sessions(session, principal.user_id, now)
    ]


@router.delete("/sessions/{session_id}", status_code=204)
async def end_own_session(
    *,
    changed: RightsChanged,
    session_id: Annotated[UUID, Path(description="The id of a session of the caller.")],
    session: UnitOfWork,
    principal: Caller,
) -> None:
    """Sign one device of the caller out."""
    if not await refresh_tokens.end_session(session, principal.user_id, session_id):
        raise NotFound("You have no such session. It may be over already: look at GET /api/auth/sessions.")
    await record(
        session,
        "user.signed_out",
        entity="user",
        entity_id=principal.user_id,
        person_id=principal.user_id,
        backoffice_id=principal.backoffice_id,
    )
    changed.add(principal.user_id)
