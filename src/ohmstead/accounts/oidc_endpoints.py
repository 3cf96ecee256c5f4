"""Signing in by way of a provider: there, back, and what a client does then."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from ohmstead.accounts import oidc_handover, oidc_sign_in
from ohmstead.accounts.endpoints import signed_in_answer
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.oidc_identities import Confirmed, user_for
from ohmstead.accounts.oidc_issuers import IssuerFault, Issuers
from ohmstead.accounts.oidc_providers import get_provider, providers_to_choose
from ohmstead.accounts.oidc_rounds import (
    COOKIE,
    COOKIE_PATH,
    LIFETIME,
    STATE,
    Round,
    RoundOver,
    authorization_url,
    begin,
    cookie_of,
    extended,
    read_cookie,
)
from ohmstead.accounts.oidc_schemas import CodeIn, ProviderButton
from ohmstead.accounts.oidc_sign_in import Confirmation, Return
from ohmstead.accounts.refresh_cookies import client_of, handed_over
from ohmstead.accounts.refresh_tokens import RefreshBy
from ohmstead.accounts.second_factor import SecondFactorRequired
from ohmstead.accounts.sign_in_schemas import SignedIn
from ohmstead.core.db import Database
from ohmstead.core.errors import DomainError, Invalid
from ohmstead.core.http import Now, UnitOfWork
from ohmstead.core.live import LiveBus
from ohmstead.core.openapi import refuses

router = APIRouter(prefix="/api/auth", tags=["Auth"])
logger = structlog.stdlib.get_logger(__name__)

ProviderId = Annotated[UUID, Path(description="The id of an identity provider.")]
Challenge = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9_-]{43}$",
        description="Of an app: the SHA-256 of its secret in base64url (RFC 7636 4.2); it gets a code.",
    ),
]
SENT_ON: dict[int | str, dict[str, object]] = {
    303: {
        "description": "Where the browser goes on.",
        "headers": {"Location": {"schema": {"type": "string"}}},
    }
}


@router.get("/providers", response_model=list[ProviderButton])
async def list_sign_in_providers(session: UnitOfWork) -> list[ProviderButton]:
    """List the providers that people may sign in at, by name."""
    return [ProviderButton.model_validate(one) for one in await providers_to_choose(session)]


@router.get(
    "/oidc/{provider_id}/start",
    status_code=303,
    response_class=RedirectResponse,
    dependencies=[limited(Subject.SIGN_IN)],
    responses=SENT_ON,
)
async def start_oidc_sign_in(
    *,
    request: Request,
    now: Now,
    provider_id: ProviderId,
    return_to: Annotated[
        str, Query(max_length=1000, description="Where to go in the end: a path, or an address of ours.")
    ] = "/",
    challenge: Challenge = None,
    link: Annotated[
        bool, Query(description="To link, not to sign in: what comes back is a code for `identities`.")
    ] = False,
) -> RedirectResponse:
    """Send a browser to a provider. It comes back to `return_to`, signed in or with `?error=`.

    A browser gets its refresh token as a cookie on the way. An app gives a `challenge` and gets `?code=`.
    """
    state = request.app.state
    if link and challenge is None:
        raise Invalid("To link, send a `challenge`.", fields={"challenge": "is needed to link"})
    one = begin(state.settings, provider_id, return_to=return_to, challenge=challenge, links=link, now=now)
    database: Database = state.database
    async with database.session() as session:
        provider = await get_provider(session, provider_id, enabled=True)
    issuers: Issuers = state.issuers
    try:
        configuration = await issuers.configuration(provider.issuer)
    except IssuerFault as fault:
        logger.warning("oidc.failed", provider=provider.name, why=str(fault))
        raise oidc_sign_in.unavailable(provider.name) from fault
    answer = RedirectResponse(authorization_url(state.settings, configuration, provider, one), 303)
    answer.set_cookie(
        _cookie_name(one.state),
        cookie_of(one),
        max_age=int(LIFETIME.total_seconds()),
        path=COOKIE_PATH,
        secure=state.settings.public_url.startswith("https:"),
        httponly=True,
        samesite="lax",  # it has to come along when the provider sends the browser back
    )
    return answer


@router.get(
    "/oidc/{provider_id}/callback",
    status_code=303,
    response_class=RedirectResponse,
    dependencies=[limited(Subject.SIGN_IN)],
    responses=SENT_ON,
)
async def finish_oidc_sign_in(
    *,
    request: Request,
    now: Now,
    provider_id: ProviderId,
    state: Annotated[str, Query(max_length=100, description="As it was sent.")] = "",
    code: Annotated[str | None, Query(max_length=4000, description="What the provider gives out.")] = None,
    error: Annotated[str | None, Query(max_length=200, description="Why there is no code.")] = None,
    iss: Annotated[str | None, Query(max_length=500, description="The issuer (RFC 9207).")] = None,
) -> RedirectResponse:
    """Take somebody back from a provider, and send it on to where it wanted to go.

    What goes wrong is told there: `?error=` is a code, `AccountExists` for one. `SecondFactorRequired` comes
    with `#challenge=` for `POST /api/auth/login/second-factor`.
    """
    settings = request.app.state.settings
    cookie = request.cookies.get(_cookie_name(state)) if STATE.fullmatch(state) else None
    if cookie is None:
        raise RoundOver
    one = read_cookie(settings, cookie, state, provider_id, now)
    try:
        answer = await _finished(request, one, Return(code, error, iss))
    except SecondFactorRequired as needed:
        answer = _on(one, error=needed.code, fragment=f"challenge={needed.detail}")
    except RoundOver:
        raise
    except DomainError as refusal:
        answer = _on(one, error=refusal.code)
    answer.delete_cookie(_cookie_name(state), path=COOKIE_PATH)
    return answer


async def _finished(request: Request, one: Round, back: Return) -> RedirectResponse:
    state = request.app.state
    database: Database = state.database
    now = state.clock.now()
    # Used up first: a second return would spend the code again, for which a provider takes all back.
    async with database.session() as session:
        await oidc_sign_in.use_up(session, one, now)
        provider = await get_provider(session, one.provider_id, enabled=True)
    who = await Confirmation(state.issuers, state.settings, provider, one, now).of(back)
    if one.links:
        return await _proof_kept(request, one, who)
    client = client_of(request, RefreshBy.COOKIE)
    async with database.session() as session:
        known = await user_for(session, who, now)
    if known.rights_changed:
        live: LiveBus = state.live
        live.drop_user(known.user.id)
    # A unit of work of its own: that somebody was made or linked stays, also when it may not enter now.
    async with database.session() as session:
        if one.challenge is not None:
            code = await oidc_handover.hand_over(
                session, state.settings, who, challenge=one.challenge, user_id=known.user.id, now=now
            )
            return _on(one, code=code)
        done = await oidc_sign_in.enter(session, state.settings, known.user.id, client=client, now=now)
    answer = _on(one)
    handed_over(answer, state.settings, done.opened, RefreshBy.COOKIE)
    return answer


async def _proof_kept(request: Request, one: Round, who: Confirmed) -> RedirectResponse:
    state = request.app.state
    now = state.clock.now()
    database: Database = state.database
    async with database.session() as session:
        code = await oidc_handover.hand_over(
            session, state.settings, who, challenge=one.challenge or "", user_id=None, now=now
        )
    return _on(one, code=code)


def _on(one: Round, fragment: str | None = None, **values: str) -> RedirectResponse:
    target = extended(one.return_to, values)
    if fragment is not None:
        target = f"{target.partition('#')[0]}#{fragment}"
    return RedirectResponse(target, 303)


def _cookie_name(state: str) -> str:
    """Return the name of the cookie of one round: two tabs at once do not know of each other."""
    return COOKIE + state[:16]


@router.post(
    "/oidc/token",
    response_model=SignedIn,
    dependencies=[limited(Subject.SIGN_IN)],
    responses={
        **refuses(401, "The code is not good, the account may not act, or a second factor is asked for."),
        **refuses(429, "Too many attempts; see `Retry-After`."),
    },
)
async def exchange_oidc_code(*, request: Request, response: Response, now: Now, body: CodeIn) -> SignedIn:
    """Turn the code that an app got back in for its tokens, within two minutes and once.

    The refresh token comes in the body. A second factor is asked for as by `POST /api/auth/login`.
    """
    settings = request.app.state.settings
    database: Database = request.app.state.database
    async with database.session() as session:  # committed whatever follows: the code is used
        kept = await oidc_handover.fetch(session, settings, body.code, body.verifier, links=False, now=now)
    if kept.user_id is None:
        raise ValueError("a code for a sign-in names its user")
    client = client_of(request, RefreshBy.BODY)
    async with database.session() as session:
        done = await oidc_sign_in.enter(session, settings, kept.user_id, client=client, now=now)
    return signed_in_answer(response, settings, done)
