"""Calls to addresses that people typed in: an identity provider, a webhook, a gateway for SMS or push.

Whoever may set such an address must not make this server knock at doors inside its own network. So a name
is resolved here, every address that it has is looked at, and the connection goes to the very address that
was looked at: a name that points elsewhere a moment later (DNS rebinding) changes nothing. Redirects are not
followed, answers are bounded in size and time.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpx

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SECONDS = 10.0
MAX_BYTES = 1_048_576
PORTS = frozenset({80, 443, 8080, 8443})
"""Elsewhere than at a network that is allowed, only where web servers listen."""

_SHARED = (IPv4Network("100.64.0.0/10"), IPv4Network("192.0.0.0/24"), IPv4Network("198.18.0.0/15"))
_TRANSLATED = IPv6Network("64:ff9b::/96")
_TRANSLATED_HERE = IPv6Network("64:ff9b:1::/48")
"""Stands for IPv4 addresses too, within one network and as that sees fit (RFC 8215): where the address stands
in it cannot be told from outside, so none of it is called."""


class Forbidden(httpx.RequestError):
    """The address lies where this server must not call."""


class TooLarge(httpx.RequestError):
    """The answer is longer than it may be."""


def reachable(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Tell whether an address may be called: a public one, or one in a network that was allowed."""
    if any(address.version == network.version and address in network for network in allowed):
        return True
    inner = _inner(address)
    if inner is not None:
        return reachable(inner, allowed)
    return (
        address.is_global
        and not address.is_multicast
        and not (address.version == 6 and address in _TRANSLATED_HERE)
        and not any(address.version == 4 and address in network for network in _SHARED)
    )


def _inner(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one stands for (mapped, 6to4, Teredo, NAT64)."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _TRANSLATED or int(address) < 2**32:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


class _Guarded(httpx.AsyncBaseTransport):
    """A transport that resolves names itself and connects to what it has looked at."""

    def __init__(self, allowed: tuple[Network, ...], inner: httpx.AsyncBaseTransport, *, tls: bool) -> None:
        self._allowed = allowed
        self._inner = inner
        self._tls = tls

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request to the address that was looked at."""
        host = request.url.host
        if request.url.scheme not in {"http", "https"}:
            raise Forbidden(f"{request.url.scheme} is not spoken here", request=request)
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        address = await self._resolve(host, port, request)
        extensions = {**request.extensions, "sni_hostname": host}
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(address)),
            headers=request.headers,
            stream=request.stream,
            extensions=extensions,
        )
        response = await self._inner.handle_async_request(pinned)
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response, request),
            extensions=response.extensions,
        )

    async def _resolve(self, host: str, port: int, request: httpx.Request) -> Address:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpx.ConnectError(f"{host} cannot be resolved", request=request) from error
        addresses = [ip_address(str(one[4][0]).partition("%")[0]) for one in found]
        for address in addresses:
            # One that is not public spoils the name: else who runs it could offer both and wait for luck.
            if not reachable(address, self._allowed):
                raise Forbidden(f"{host} lies inside of a private network", request=request)
        allowed = any(
            addresses[0] in network for network in self._allowed if addresses[0].version == network.version
        )
        if port not in PORTS and not allowed:
            raise Forbidden(f"port {port} is none of a web server", request=request)
        if self._tls and request.url.scheme != "https" and not allowed:
            raise Forbidden(f"{host} must be called by https", request=request)
        return addresses[0]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _Bounded(httpx.AsyncByteStream):
    """The body of an answer, as long as it may be."""

    def __init__(self, response: httpx.Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        stream = self._response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("an answer over the network is a stream")
        async for chunk in stream:
            length += len(chunk)
            if length > MAX_BYTES:
                raise TooLarge(f"the answer has more than {MAX_BYTES} bytes", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def outbound_client(
    allowed: Iterable[Network] = (), *, tls: bool = False, **options: Any
) -> httpx.AsyncClient:
    """Return a client for addresses that people typed in; close it as any other.

    `allowed` are networks that may be called although they are private (`OHMSTEAD_OUTBOUND_ALLOW`). With
    `tls` all others are called by https only.
    Raises `httpx.RequestError` for all that fails, `Forbidden` and `TooLarge` among it.
    """
    return httpx.AsyncClient(
        # No connection is kept: the next name may lead to the same address with another certificate.
        transport=_Guarded(
            tuple(allowed),
            httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0)),
            tls=tls,
        ),
        timeout=httpx.Timeout(SECONDS),
        follow_redirects=False,
        trust_env=False,
        **options,
    )
