"""How tokens get to a client: a refresh token in a cookie that scripts cannot read, or in the answer."""

from typing import Annotated, Any, Literal

from fastapi import Cookie, Request, Response

from ohmstead.accounts.refresh_tokens import Client, Opened, RefreshBy
from ohmstead.core.config import Settings

COOKIE = "ohmstead_refresh"
PATH = "/api"
"""Paths of cookies are told apart by case, those of our routes are not."""
BROWSERS_SEND = ("sec-fetch-site", "origin")
"""Every browser says with what it posts from where (Fetch Metadata 2.3, RFC 6454); programs do not.

Not `sec-fetch-mode`: programs in Node.js send that too.
"""

RefreshCookie = Annotated[
    str | None, Cookie(alias=COOKIE, description="The refresh token of a browser, set at the sign-in.")
]


def wanted_by(request: Request, asked: RefreshBy | Literal["none"] | None) -> RefreshBy | None:
    """Return how a client gets its refresh token: as it asks, else by what it is; None: it wants none."""
    if asked is None:
        from_browser = any(name in request.headers for name in BROWSERS_SEND)
        return RefreshBy.COOKIE if from_browser else RefreshBy.BODY
    return None if asked == "none" else asked


def client_of(request: Request, refresh_by: RefreshBy | None = None) -> Client:
    """Return from where a request comes."""
    address = request.client.host if request.client else None
    return Client(request.headers.get("user-agent"), address, refresh_by)


def handed_over(
    response: Response, settings: Settings, opened: Opened, refresh_by: RefreshBy | None
) -> dict[str, Any]:
    """Return the members of `Tokens`; where the refresh token goes into a cookie, put it into `response`."""
    if refresh_by is RefreshBy.COOKIE and opened.refresh_token and opened.refresh_expires_at:
        response.set_cookie(
            COOKIE,
            opened.refresh_token,
            max_age=int((opened.refresh_expires_at - opened.issued_at).total_seconds()),
            path=PATH,
            secure=settings.public_url.startswith("https:"),
            httponly=True,
            samesite="strict",
        )
    return {
        "access_token": opened.access_token,
        "expires_in": int((opened.expires_at - opened.issued_at).total_seconds()),
        "expires_at": opened.expires_at,
        "refresh_token": opened.refresh_token if refresh_by is RefreshBy.BODY else None,
        "refresh_expires_at": opened.refresh_expires_at,
        "session_id": opened.session_id,
    }


def forget_cookie(response: Response, settings: Settings) -> None:
    """Have the browser drop its refresh token."""
    response.delete_cookie(
        COOKIE,
        path=PATH,
        secure=settings.public_url.startswith("https:"),
        httponly=True,
        samesite="strict",
    )
