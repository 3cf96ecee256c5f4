"""Files over HTTP as a charge point moves them: downloads that go on where they broke off, uploads.

Nothing is kept of a download but its SHA-256 and its first bytes: a simulated charge point installs nothing.
"""

import asyncio
import hashlib
import logging
import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

import httpx

# It would write each address into the log, and an address may be all that somebody needs to use it.
logging.getLogger("httpx").setLevel(logging.WARNING)

SCHEMES: Final = ("http", "https")
PATIENCE: Final = httpx.Timeout(30.0, connect=10.0)
HEAD_BYTES: Final = 200
NOT_BY_PUT: Final = frozenset({404, 405, 411, 501})
"""Answers after which an upload is tried by POST, as a form."""


class TransferFailed(Exception):
    """A file could not be moved. `status` is the HTTP status, None when there was none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Download:
    """A file on its way: what has come so far. `attempt` goes on where the last one broke off."""

    url: str
    tls: ssl.SSLContext | None = None
    size: int = 0
    head: bytes = b""
    complete: bool = False
    _etag: str | None = None
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what has come."""
        return self._hash.digest()

    async def attempt(self) -> None:
        """Get the rest. Raises `TransferFailed`; what has come until then is kept."""
        headers = {}
        if self.size:
            headers = {"Range": f"bytes={self.size}-"}
            if self._etag is not None:
                headers["If-Range"] = self._etag
        try:
            async with (
                await _client(self.url, self.tls) as client,
                client.stream("GET", self.url, headers=headers) as answer,
            ):
                if answer.status_code not in (200, 206):
                    raise _refused(answer.status_code)
                if answer.status_code == 200:
                    self._begin_anew()
                self._etag = answer.headers.get("etag")
                async for block in answer.aiter_raw():
                    self._take(block)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransferFailed(f"the download broke: {error or type(error).__name__}") from error
        self.complete = True

    def _begin_anew(self) -> None:
        self.size, self.head, self._hash = 0, b"", hashlib.sha256()

    def _take(self, block: bytes) -> None:
        if len(self.head) < HEAD_BYTES:
            self.head += block[: HEAD_BYTES - len(self.head)]
        self.size += len(block)
        self._hash.update(block)


async def upload(location: str, name: str, content: bytes, *, tls: ssl.SSLContext | None = None) -> None:
    """Bring a file: PUT to `location` with its name behind it, else POST to `location` as a form.

    Raises `TransferFailed`.
    """
    try:
        async with await _client(location, tls) as client:
            answer = await client.put(f"{location.rstrip('/')}/{quote(name)}", content=content)
            if answer.status_code in NOT_BY_PUT:
                answer = await client.post(location, files={"file": (name, content)})
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransferFailed(f"the upload broke: {error or type(error).__name__}") from error
    if not answer.is_success:
        raise _refused(answer.status_code)


async def _client(url: str, tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    """A client for one transfer; proxies of the environment are not used."""
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise TransferFailed(f"only {' and '.join(SCHEMES)} are known here, not {scheme or 'nothing'}")
    verify: ssl.SSLContext | bool = False
    if scheme == "https":
        verify = tls if tls is not None else await asyncio.to_thread(ssl.create_default_context)
    return httpx.AsyncClient(verify=verify, timeout=PATIENCE, follow_redirects=True, trust_env=False)


def _refused(status: int) -> TransferFailed:
    return TransferFailed(f"the other side answered {status}", status)
