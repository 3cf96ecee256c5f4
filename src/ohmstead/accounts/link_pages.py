"""The pages behind the links in mails, and the few that they lead to, until the portals are there.

They ask and answer by the same functions as the API, so the rules are the same. To look at a link changes
nothing (programs that check mails for viruses open every link in them): it is used by the button.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import State

from ohmstead.accounts import drivers, email_change, mailed_tokens, password_change
from ohmstead.accounts.emails import normalise_email
from ohmstead.accounts.html_pages import PageRoute, page, read_form
from ohmstead.accounts.invites import accept_invite, show_invite
from ohmstead.accounts.limits import Subject, limited
from ohmstead.accounts.mailed_tokens import LinkOver, Purpose
from ohmstead.accounts.password_rule import AT_LEAST
from ohmstead.core.config import Settings
from ohmstead.core.errors import Invalid, NotFound
from ohmstead.core.http import STATUS_OF, Now

router = APIRouter(include_in_schema=False, route_class=PageRoute)

LOOK = ["GET", "HEAD"]

TYPED_TWICE = ("password", "again")

Form = dict[str, str]


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of mailed link: where it leads, and what the button of its page does.

    The template of its page has the name of its path, and three steps: `ask`, `done`, and `over`.
    """

    path: str
    purpose: Purpose
    use: Callable[[State, str, Form, datetime], Awaitable[None]]
    fields: tuple[str, ...] = ()


@router.api_route("/", methods=LOOK)
async def home(request: Request) -> Response:
    """What runs here, and where its description is."""
    return page(request, "home")


@router.api_route("/sign-in", methods=LOOK)
async def sign_in(request: Request) -> Response:
    """How to sign in while there is no portal."""
    return page(request, "sign-in")


@router.api_route("/reset-password", methods=LOOK)
async def forgotten_password(request: Request) -> Response:
    """Ask for the address of who has forgotten the password."""
    return page(request, "ask-for-reset", step="ask", email="", faults={})


@router.post("/reset-password", dependencies=[limited(Subject.REGISTRATION)])
async def ask_for_reset(request: Request) -> Response:
    """Have a link to a new password mailed. The answer is the same whether there is an account or not."""
    return await _ask_for(request, "ask-for-reset", password_change.ask_for_link)


@router.api_route("/verify-email", methods=LOOK)
async def unverified_email(request: Request) -> Response:
    """Ask for the address that is to be verified."""
    return page(request, "ask-for-verification", step="ask", email="", faults={})


@router.post("/verify-email", dependencies=[limited(Subject.REGISTRATION)])
async def ask_for_verification(request: Request, now: Now) -> Response:
    """Have another link mailed. The answer is the same whether there is an account or not."""
    settings: Settings = request.app.state.settings
    return await _ask_for(
        request,
        "ask-for-verification",
        lambda session, email: drivers.send_verification_again(session, settings, email, now),
    )


async def _ask_for(
    request: Request, template: str, send: Callable[[AsyncSession, str], Awaitable[None]]
) -> Response:
    """Take the address of a form and have a link mailed there; refuse what can be nobody's address."""
    typed = (await read_form(request, "email"))["email"]
    try:
        email = normalise_email(typed)
    except Invalid as error:
        status = STATUS_OF[error.kind]
        return page(request, template, status, step="ask", email=typed.strip(), faults=error.fields)
    async with request.app.state.database.session() as session:
        await send(session, email)
    return page(request, template, step="done", email=email)


async def _accept_invite(state: State, token: str, form: Form, now: datetime) -> None:
    await accept_invite(state.database, state.settings, token, _chosen(form), now)


async def _reset_password(state: State, token: str, form: Form, now: datetime) -> None:
    user_id = await password_change.reset_password(state.database, state.settings, token, _chosen(form), now)
    state.live.drop_user(user_id)


async def _verify_email(state: State, token: str, _: Form, now: datetime) -> None:
    async with state.database.session() as session:
        await drivers.verify_email(session, state.settings, token, now)


async def _change_email(state: State, token: str, _: Form, now: datetime) -> None:
    async with state.database.session() as session:
        user = await email_change.confirm_change(session, state.settings, token, now)
    state.live.drop_user(user.id)


def _chosen(form: Form) -> str:
    """Return the password, which is typed twice: it cannot be seen, and who mistypes it is locked out."""
    if form["password"] != form["again"]:
        raise Invalid("The passwords differ.", fields={"again": "is not the same as the first"})
    return form["password"]


async def _address(
    session: AsyncSession, settings: Settings, purpose: Purpose, token: str, now: datetime
) -> str:
    """Return whose link it is. It is told to who has a good link only; raises `NotFound` and `LinkOver`."""
    if purpose is Purpose.INVITE:
        return (await show_invite(session, settings, token, now)).email
    mailed, _ = await mailed_tokens.look(session, settings, purpose, token, now)
    return mailed.email


async def _show(
    link: Link, request: Request, token: str, now: datetime, refused: Invalid | None = None
) -> Response:
    """Show the form of a link, with what is wrong with what was sent; or that the link is not good."""
    state = request.app.state
    try:
        async with state.database.session() as session:
            email = await _address(session, state.settings, link.purpose, token, now)
    except (NotFound, LinkOver) as error:
        return _over(link, request, error)
    status = 200 if refused is None else STATUS_OF[refused.kind]
    faults = {} if refused is None else refused.fields
    return page(request, link.path, status, step="ask", email=email, faults=faults, at_least=AT_LEAST)


def _over(link: Link, request: Request, error: NotFound | LinkOver) -> Response:
    return page(request, link.path, STATUS_OF[error.kind], step="over", message=error.message)


async def _use(link: Link, request: Request, token: str, now: datetime) -> Response:
    """Do what the link is for, and say what to do now; or what is wrong, which uses nothing up."""
    try:
        await link.use(request.app.state, token, await read_form(request, *link.fields), now)
    except Invalid as error:
        return await _show(link, request, token, now, error)
    except (NotFound, LinkOver) as error:
        return _over(link, request, error)
    return page(request, link.path, step="done")


LINKS = (
    Link("invite", Purpose.INVITE, _accept_invite, TYPED_TWICE),
    Link("reset-password", Purpose.PASSWORD_RESET, _reset_password, TYPED_TWICE),
    Link("verify-email", Purpose.VERIFY_EMAIL, _verify_email),
    Link("change-email", Purpose.CHANGE_EMAIL, _change_email),
)


def _add(link: Link) -> None:
    """Add the two routes of a link: to look at it, and to use it."""
    # `:path`: what a mail program made of a link is still answered by a page.
    path = f"/{link.path}/{{token:path}}"

    @router.api_route(path, methods=LOOK)
    async def show(request: Request, token: str, now: Now) -> Response:
        return await _show(link, request, token.rstrip("/"), now)

    @router.post(path, dependencies=[limited(Subject.SIGN_IN)])
    async def use(request: Request, token: str, now: Now) -> Response:
        return await _use(link, request, token.rstrip("/"), now)


for _link in LINKS:
    _add(_link)
