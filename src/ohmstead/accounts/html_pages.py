"""Pages for people with a browser: plain forms, no script, nothing from elsewhere.

A page is a template of `html/`; whatever is put in is escaped. Its style stands in it, and its policy (CSP
Level 3) allows this one style, forms to this server, and nothing else. That it is not kept, not framed and
not told to others as the referrer is said of every answer (`core.middleware`).
"""

import base64
import hashlib
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Invalid, Kind
from ohmstead.core.http import RETRY_AFTER, STATUS_OF

FOLDER = Path(__file__).parent / "html"
STYLE = (FOLDER / "style.css").read_text(encoding="utf-8").strip()
CSP = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FORM = "application/x-www-form-urlencoded"
FIELDS_AT_MOST = 10
LONGEST = 1024
"""Characters of a field: as many as a password may have."""
AGAIN_LATER = frozenset({Kind.TOO_MANY, Kind.UNAVAILABLE})


class UnreadableForm(DomainError):
    """What was sent is not what the form of a page sends."""

    code = "UnreadableForm"

    def __init__(self) -> None:
        super().__init__("The form did not arrive whole. Open the page again, and send it once more.")


class PageRoute(APIRoute):
    """A route for people: what a domain refuses is told on a page, with the status that the API gives it.

    Such a route has no unit of work from outside: this would be committed, since the refusal ends here.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request."""
        serve = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await serve(request)
            except DomainError as error:
                return _trouble(request, error)

        return shown


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Build a page of a template of `html/`; `service`, `home` and `url` are there in each.

    `url` is `OHMSTEAD_PUBLIC_URL`; `home`, its path (mostly empty), stands before the paths of links.
    """
    settings: Settings = request.app.state.settings
    home = urlsplit(settings.public_url).path
    text = (
        _templates()
        .get_template(f"{template}.html")
        .render(service=settings.mail_name, home=home, url=settings.public_url, **values)
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": CSP})


async def read_form(request: Request, *names: str) -> dict[str, str]:
    """Read these fields of a form as browsers send it (URL Standard 5.1); one that is not there is empty.

    Raises `UnreadableForm` for anything else, `Invalid` for a field that is too long.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise UnreadableForm
    body = await request.body()
    try:
        sent = dict(
            parse_qsl(
                body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_AT_MOST
            )
        )
    except ValueError as error:  # too many fields, or no UTF-8
        raise UnreadableForm from error
    fields = {name: sent.get(name, "") for name in names}
    faults = {
        name: f"has more than {LONGEST} characters" for name, value in fields.items() if len(value) > LONGEST
    }
    if faults:
        raise Invalid("What was typed is too long.", fields=faults)
    return fields


def _trouble(request: Request, error: DomainError) -> HTMLResponse:
    answer = page(
        request,
        "trouble",
        STATUS_OF[error.kind],
        message=error.message,
        again_later=error.kind in AGAIN_LATER,
    )
    if error.kind in AGAIN_LATER:
        answer.headers["Retry-After"] = str(RETRY_AFTER if error.retry_after is None else error.retry_after)
    return answer


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["style"] = STYLE
    return made
