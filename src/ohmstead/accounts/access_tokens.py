"""Access tokens: JWT (RFC 7519), signed with HS256 by a key that serves nothing else.

A token proves who somebody is until it expires. Its role and scope are for the client's
convenience; the server reads both from the user's row (see `access`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry

from ohmstead.accounts.models import User
from ohmstead.accounts.passwords import derive_key
from ohmstead.core.config import Settings
from ohmstead.core.errors import Unauthenticated

ALGORITHM = "HS256"
ISSUER = "ohmstead"
AUDIENCE = "ohmstead-api"
STATIONS_AT_MOST = 50
"""A token with more stations would outgrow the headers of proxies: the claim is left out then."""

CLOCKS_DIFFER_SECONDS = 5
"""How far ahead the clock of another server process may be that issued a token just now."""


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid token says: whose it is, when it ends (aware UTC), and in which session it was given.

    `second_factor`: whether a third party says that one was shown; None for ours, which are given after it.
    """

    user_id: UUID
    expires_at: datetime
    session_id: UUID | None = None
    second_factor: bool | None = None


def lifetime(settings: Settings) -> timedelta:
    """Return how long a token issued now is valid."""
    return timedelta(minutes=settings.jwt_minutes)


def issue(settings: Settings, user: User, now: datetime, session_id: UUID | None = None) -> str:
    """Return a signed access token for a user, valid from now for `settings.jwt_minutes`.

    With a `session_id` it ends with that session, whatever its time.
    """
    moment = int(now.timestamp())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.id),
        "role": str(user.role),
        "backofficeId": str(user.backoffice_id) if user.backoffice_id else None,
        "iat": moment,
        "nbf": moment,
        "exp": moment + int(lifetime(settings).total_seconds()),
        "jti": str(uuid4()),
    }
    if len(user.operator_station_ids) <= STATIONS_AT_MOST:
        claims["operatorStationIds"] = [str(station) for station in user.operator_station_ids]
    if session_id is not None:
        claims["sid"] = str(session_id)
    key = settings.signing_key
    header = {"alg": ALGORITHM, "kid": key_id(key)}
    return jwt.encode(header, claims, _key(key), algorithms=[ALGORITHM])


def key_id(key: str) -> str:
    """Return the name of one of our secrets, which tells nothing of it: the `kid` of its tokens."""
    return derive_key(key, "access-token-id").hex()[:16]


def read(settings: Settings, token: str, now: datetime) -> AccessClaims:
    """Check a token and return what it says.

    Signature, algorithm, issuer, audience and times must all be right; anything else, whatever it
    is, raises `Unauthenticated`.
    """
    moment = int(now.timestamp())
    essential: ClaimsOption = {"essential": True}
    registry = JWTClaimsRegistry(
        now=moment,
        leeway=CLOCKS_DIFFER_SECONDS,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        sub=essential,
        iat=essential,
        nbf=essential,
        exp=essential,
        jti=essential,
    )
    try:
        keys = {key_id(key): key for key in settings.signing_keys}
        claims = jwt.decode(token, lambda jws: _named(jws.headers(), keys), algorithms=[ALGORITHM]).claims
        registry.validate(claims)
        user_id, ends = UUID(claims["sub"]), datetime.fromtimestamp(claims["exp"], UTC)
        session_id = UUID(claims["sid"]) if "sid" in claims else None
    except (
        JoseError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        OSError,
        RecursionError,
    ) as error:
        raise _refused() from error
    if ends <= now:  # without the leeway: it is our own clock that said how long
        raise _refused()
    return AccessClaims(user_id, ends, session_id)


def _named(header: dict[str, Any], keys: dict[str, str]) -> OctKey:
    """Return the live key that a token names. Only these: a token never brings its key along."""
    name = header.get("kid")
    if not isinstance(name, str) or name not in keys:
        raise ValueError("the token names no key of ours")
    return _key(keys[name])


def _key(key: str) -> OctKey:
    return OctKey.import_key(derive_key(key, "access-token"))


def _refused() -> Unauthenticated:
    return Unauthenticated("The access token is not valid or has expired. Sign in again.")
