"""What an issuer publishes: its configuration (OpenID Connect Discovery 1.0) and its keys (RFC 7517).

Both are kept for an hour. A key that is not known yet is asked for once, and not again for half a minute,
whoever sends tokens with made-up key ids. While an issuer is away what is known of it serves for a day.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx
import orjson
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from ohmstead.accounts.signed_tokens import HS256, KIND_OF, Look, TokenFault
from ohmstead.core.clock import Clock
from ohmstead.core.outbound import Network, outbound_client

SECONDS = 15.0
"""So long may one call take as a whole."""
FRESH = timedelta(hours=1)
SERVES = timedelta(days=1)
PAUSE = timedelta(seconds=30)
PAUSE_AFTER_FAULT = timedelta(seconds=5)
KEYS_AT_MOST = 100
MODULUS_AT_MOST = 1400
"""Characters of a modulus in base64url: 8192 bits. Longer ones only keep us busy."""

Thing = TypeVar("Thing")
logger = logging.getLogger(__name__)


class IssuerFault(Exception):
    """An issuer that cannot be asked or does not answer as it must; the text says what."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where an issuer is asked for what. `by_post`: our secret goes into the body, not into a header."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    by_post: bool
    names_itself: bool
    """It says `iss` when it sends somebody back (RFC 9207)."""


class Kept(Generic[Thing]):
    """Something that is fetched, kept, and asked for again only so often."""

    def __init__(self, fetch: Callable[[], Awaitable[Thing]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._thing: Thing | None = None
        self._at: datetime | None = None
        self._not_before: datetime | None = None
        self._fault = IssuerFault("has not been asked yet")
        self._lock = asyncio.Lock()

    async def get(self, suits: Callable[[Thing], bool] = lambda _: True) -> Thing:
        """Return the thing, fetched again when it is old or does not suit; it may still not suit then.

        Raises `IssuerFault` when it could not be fetched for longer than it serves.
        """
        now = self._clock.now()
        held = self._held(now, FRESH)
        if held is not None and suits(held):
            return held
        held = self._held(now, SERVES)
        if held is not None and suits(held) and self._lock.locked():
            return held  # somebody is fetching it just now
        async with self._lock:
            if self._not_before is None or now >= self._not_before:
                await self._renew(now)
        held = self._held(now, SERVES)
        if held is None:
            raise self._fault
        return held

    def _held(self, now: datetime, age: timedelta) -> Thing | None:
        return self._thing if self._at is not None and now - self._at < age else None

    async def _renew(self, now: datetime) -> None:
        try:
            self._thing = await self._fetch()
            self._at = now
            self._not_before = now + PAUSE
        except IssuerFault as fault:
            logger.warning("an issuer of tokens cannot be asked: %s", fault)
            self._fault = fault
            self._not_before = now + PAUSE_AFTER_FAULT


class Issuers:
    """All the issuers that this process has to do with. `allowed` are private networks that may be called."""

    def __init__(self, allowed: Iterable[Network], clock: Clock) -> None:
        self._allowed = tuple(allowed)
        self._clock = clock
        self._configurations: dict[str, Kept[Configuration]] = {}
        self._keys: dict[str, Kept[tuple[RSAKey | ECKey, ...]]] = {}

    async def configuration(self, issuer: str) -> Configuration:
        """Return the configuration of an issuer. Raises `IssuerFault`."""
        if issuer not in self._configurations:
            self._configurations[issuer] = Kept(lambda: self.discover(issuer), self._clock)
        return await self._configurations[issuer].get()

    async def discover(self, issuer: str) -> Configuration:
        """Ask an issuer for its configuration now. Raises `IssuerFault`."""
        address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        return _configuration(issuer, await self.ask(address))

    async def key(self, address: str, look: Look) -> RSAKey | ECKey:
        """Return the key behind an address that a token names. Raises `IssuerFault`, `TokenFault`."""
        if address not in self._keys:
            self._keys[address] = Kept(lambda: self._fetch_keys(address), self._clock)
        keys = await self._keys[address].get(lambda held: _chosen(held, look) is not None)
        found = _chosen(keys, look)
        if found is None:
            raise TokenFault("is signed by a key that its issuer does not publish")
        return found

    async def _fetch_keys(self, address: str) -> tuple[RSAKey | ECKey, ...]:
        return _keys_in(await self.ask(address))

    async def ask(
        self, address: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Get an address, or post a form to it, and return the object that it answers.

        Raises `IssuerFault` for every other outcome.
        """
        host = urlsplit(address).hostname or address
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._client.request(
                    "GET" if form is None else "POST",
                    address,
                    data=form,
                    headers={"Accept": "application/json", **(headers or {})},
                )
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise IssuerFault(f"{host} cannot be asked: {error or type(error).__name__}") from error
        try:
            body = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            body = None
        if answer.status_code != 200 or not isinstance(body, dict):
            why = body.get("error") if isinstance(body, dict) else None
            told = f" ({why[:60]})" if isinstance(why, str) else ""
            raise IssuerFault(f"{host} answers {answer.status_code}{told} and not what was asked for")
        return body

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        """One for all calls, as it takes time to make; it keeps neither connections nor cookies."""
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        return outbound_client(self._allowed, tls=True, cookies=nothing)


def _configuration(issuer: str, told: dict[str, Any]) -> Configuration:
    if told.get("issuer") != issuer:
        raise IssuerFault(f"its configuration is that of another issuer: {str(told.get('issuer'))[:200]}")
    signs = told.get("id_token_signing_alg_values_supported")
    if isinstance(signs, list) and not (KIND_OF.keys() - {HS256}) & {
        one for one in signs if type(one) is str
    }:
        raise IssuerFault(
            "it signs by none of the algorithms that are taken (RS256, PS256, ES256 and longer)"
        )
    schemes = {"https"} if urlsplit(issuer).scheme == "https" else {"https", "http"}
    places: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        place = told.get(name)
        if place is None and name == "userinfo_endpoint":
            continue
        if not isinstance(place, str) or urlsplit(place).scheme not in schemes or len(place) > 1000:
            raise IssuerFault(f"its configuration has no usable {name}")
        places[name] = place
    methods = told.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Configuration(
        issuer=issuer,
        authorization_endpoint=places["authorization_endpoint"],
        token_endpoint=places["token_endpoint"],
        jwks_uri=places["jwks_uri"],
        userinfo_endpoint=places.get("userinfo_endpoint"),
        by_post="client_secret_basic" not in methods,
        names_itself=told.get("authorization_response_iss_parameter_supported") is True,
    )


def _keys_in(told: dict[str, Any]) -> tuple[RSAKey | ECKey, ...]:
    """Return the keys of a set that verify; those for something else, or of a strange kind, are left out."""
    listed = told.get("keys")
    if not isinstance(listed, list):
        raise IssuerFault("its key set is no key set")
    keys = (_key(one) for one in listed[:KEYS_AT_MOST])
    return tuple(key for key in keys if key is not None)


def _key(told: Any) -> RSAKey | ECKey | None:
    if not isinstance(told, dict) or told.get("use", "sig") != "sig":
        return None
    try:
        if told.get("kty") == "RSA" and len(told["n"]) <= MODULUS_AT_MOST and len(told["e"]) <= 8:
            key = RSAKey.import_key(
                {name: told[name] for name in ("kty", "n", "e", "kid", "alg") if name in told}
            )
            return key if key.public_key.key_size >= 2048 else None
        if told.get("kty") == "EC":
            parts = ("kty", "crv", "x", "y", "kid", "alg")
            return ECKey.import_key({name: told[name] for name in parts if name in told})
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    return None


def _chosen(keys: Iterable[RSAKey | ECKey], look: Look) -> RSAKey | ECKey | None:
    """Return the key that a token names; where it names none, the only one that it can be."""
    fitting = [
        key
        for key in keys
        if key.key_type == KIND_OF[look.algorithm] and key.get("alg") in {None, look.algorithm}
    ]
    if look.key_id is None:
        return fitting[0] if len(fitting) == 1 else None
    return next((key for key in fitting if key.kid == look.key_id), None)
