"""One round by way of a provider: from our start over its pages back to us (OpenID Connect Core 3.1).

What has to come back is in a cookie of the browser that began, signed by us, good for ten minutes and for one
round: nothing is written down for somebody who only begins. The nonce and the verifier of PKCE (RFC 7636) are
derived from the state by our secret, so not even the cookie holds them.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from ohmstead.accounts.oidc_issuers import Configuration
from ohmstead.accounts.oidc_models import IdentityProvider
from ohmstead.accounts.passwords import derive_key
from ohmstead.core.config import Settings
from ohmstead.core.errors import DomainError, Invalid, Kind

LIFETIME = timedelta(minutes=10)
COOKIE = "ohmstead_round_"
COOKIE_PATH = "/api/auth/oidc"
STATE = re.compile(r"[A-Za-z0-9_-]{43}")
ALGORITHM = "HS256"


class RoundOver(DomainError):
    """A return that nobody waits for: of another browser, too late, or for the second time."""

    kind = Kind.INVALID
    code = "SignInExpired"

    def __init__(self) -> None:
        super().__init__("This sign-in was not begun in this browser, or has taken too long. Begin again.")


@dataclass(frozen=True, slots=True)
class Round:
    """What was begun. `links`: it ends in the proof of an identity, not in a sign-in.

    `challenge` is whose client may fetch the outcome (see `IdentityHandover`); None for a browser, which gets
    it as a cookie. `key` is the secret of ours that the round was begun with.
    """

    state: str
    provider_id: UUID
    return_to: str
    challenge: str | None
    links: bool
    begun_at: datetime
    key: str

    @property
    def nonce(self) -> str:
        """What the ID token has to repeat."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What proves to the provider that the code is fetched by who asked for it (RFC 7636 4.1)."""
        return self._derived("verifier")

    def _derived(self, purpose: str) -> str:
        return _base64(
            hmac.digest(derive_key(self.key, f"oidc-{purpose}"), self.state.encode(), hashlib.sha256)
        )


def begin(
    settings: Settings,
    provider_id: UUID,
    *,
    return_to: str,
    challenge: str | None,
    links: bool,
    now: datetime,
) -> Round:
    """Begin a round. Raises `Invalid` for a `return_to` outside of our public address."""
    return Round(
        state=secrets.token_urlsafe(32),
        provider_id=provider_id,
        return_to=inside(settings, return_to),
        challenge=challenge,
        links=links,
        begun_at=now,
        key=settings.signing_key,
    )


def inside(settings: Settings, address: str) -> str:
    """Return a path, or an address, as an address within `OHMSTEAD_PUBLIC_URL`; `Invalid` for any other."""
    home = settings.public_url
    full = home + address if address.startswith("/") else address
    if address.startswith("//") or not _is_below(home, full):
        raise Invalid(
            f"`return_to` must be a path, or an address that begins with {home}.",
            fields={"return_to": "lies outside of this installation"},
        )
    return full


def _is_below(home: str, address: str) -> bool:
    if re.fullmatch(r"[!-\[\]-~]*", address) is None:  # no blanks, no backslash, nothing beyond ASCII
        return False
    try:
        parts, ours = urlsplit(address), urlsplit(home)
    except ValueError:
        return False
    path = unquote(parts.path)
    return (
        (parts.scheme, parts.netloc) == (ours.scheme, ours.netloc)
        and (path == ours.path or path.startswith(ours.path.rstrip("/") + "/"))
        and not {".", ".."} & set(path.replace("\\", "/").split("/"))
    )


def cookie_of(one: Round) -> str:
    """Return a round as the cookie that its browser keeps."""
    claims = {
        "state": one.state,
        "provider": str(one.provider_id),
        "return_to": one.return_to,
        "challenge": one.challenge,
        "links": one.links,
        "begun": int(one.begun_at.timestamp()),
    }
    return jwt.encode({"alg": ALGORITHM}, claims, _cookie_key(one.key), algorithms=[ALGORITHM])


def read_cookie(settings: Settings, cookie: str, state: str, provider_id: UUID, now: datetime) -> Round:
    """Return the round that a browser comes back from. Raises `RoundOver`."""
    for key in settings.signing_keys:
        try:
            claims = jwt.decode(cookie, _cookie_key(key), algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError):
            continue
        begun = datetime.fromtimestamp(claims["begun"], UTC)
        same = hmac.compare_digest(claims["state"], state) and claims["provider"] == str(provider_id)
        if same and now - begun < LIFETIME:
            return Round(
                state=state,
                provider_id=provider_id,
                return_to=claims["return_to"],
                challenge=claims["challenge"],
                links=claims["links"],
                begun_at=begun,
                key=key,
            )
    raise RoundOver


def authorization_url(
    settings: Settings, configuration: Configuration, provider: IdentityProvider, one: Round
) -> str:
    """Return where a browser is sent to sign in (OpenID Connect Core 3.1.2.1)."""
    asked = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri(settings, provider.id),
        "scope": provider.scopes,
        "state": one.state,
        "nonce": one.nonce,
        "code_challenge": challenge_of(one.verifier),
        "code_challenge_method": "S256",
    }
    return extended(configuration.authorization_endpoint, asked)


def redirect_uri(settings: Settings, provider_id: UUID) -> str:
    """Return where a provider sends people back to; it has to be told of it."""
    return f"{settings.public_url}/api/auth/oidc/{provider_id}/callback"


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier (RFC 7636 4.2, S256)."""
    return _base64(hashlib.sha256(verifier.encode()).digest())


def extended(address: str, values: dict[str, str]) -> str:
    """Return an address with further query parameters."""
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(values))))
    return urlunsplit(parts._replace(query=query))


def _cookie_key(key: str) -> OctKey:
    return OctKey.import_key(derive_key(key, "oidc-round"))


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
