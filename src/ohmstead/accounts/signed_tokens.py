"""JSON Web Tokens that others signed (RFC 7519): looked at, checked against a key, never half believed.

What a token says of itself only tells which key to look for. A key is of one kind, and an algorithm needs one
kind: a public key can never be taken for a shared secret, nor the other way round (RFC 8725 3.1).
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

HS256: Final = "HS256"
KIND_OF: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    HS256: "oct",
}
"""The algorithms that are taken, and the kind of key that each needs. `none` is not among them."""

LONGEST: Final = 16_384
SUBJECT_AT_MOST: Final = 255
"""OpenID Connect Core 2: a subject has at most 255 characters."""
CLOCKS_DIFFER_SECONDS: Final = 60
"""How far the clock of an issuer may be from ours."""

VerifyingKey = RSAKey | ECKey | OctKey


class TokenFault(Exception):
    """A token that is not believed; the text says why, for the log and never for who brought it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a token says of itself."""

    algorithm: str
    key_id: str | None
    issuer: str | None


def look_at(token: str) -> Look:
    """Read what a token says of itself. Raises `TokenFault` for what is no signed token of a known kind."""
    parts = token.split(".")
    if len(token) > LONGEST or len(parts) != 3:
        raise TokenFault("is no signed token in compact form")
    header, claims = (_object(part) for part in parts[:2])
    algorithm, key_id, issuer = header.get("alg"), header.get("kid"), claims.get("iss")
    if not isinstance(algorithm, str) or algorithm not in KIND_OF:
        raise TokenFault("is signed by an algorithm that is not taken")
    if not isinstance(key_id, str | None) or not isinstance(issuer, str | None):
        raise TokenFault("names its key or its issuer by something that is no text")
    return Look(algorithm, key_id, issuer)


def _object(part: str) -> dict[str, Any]:
    try:
        read = orjson.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True))
    except ValueError as error:
        raise TokenFault("cannot be read") from error
    if not isinstance(read, dict):
        raise TokenFault("cannot be read")
    return read


def verified(token: str, key: VerifyingKey, algorithm: str) -> dict[str, Any]:
    """Return the claims of a token that this key signed by this algorithm. Raises `TokenFault` otherwise."""
    if key.key_type != KIND_OF[algorithm]:
        raise TokenFault(f"is signed by {algorithm}, for which the key is of the wrong kind")
    registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        signed = jws.deserialize_compact(token, key, algorithms=[algorithm], registry=registry)
        claims = orjson.loads(signed.payload or b"")
    except (JoseError, ValueError) as error:
        raise TokenFault(f"has no valid signature: {error}") from error
    if not isinstance(claims, dict):
        raise TokenFault("holds no claims")
    return claims


def check_claims(claims: Mapping[str, Any], *, issuer: str, audience: str, now: datetime) -> str:
    """Check who issued a token, for whom, and when it is valid; returns its subject.

    `iss`, `aud`, `sub`, `iat` and `exp` must be there. Raises `TokenFault`.
    """
    registry = JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=CLOCKS_DIFFER_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        sub={"essential": True},
        iat={"essential": True},
        exp={"essential": True},
    )
    try:
        registry.validate(dict(claims))
    except JoseError as error:
        raise TokenFault(f"is not valid: {error}") from error
    subject = str(claims["sub"])
    if not 0 < len(subject) <= SUBJECT_AT_MOST or "\x00" in subject:
        raise TokenFault("names its subject by something that is no name")
    return subject
