"""An issuer of tokens on a real socket that can be told to be wrong in every way."""

import asyncio
import base64
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

Claims = dict[str, Any]

RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "alg": "ES256", "use": "sig"})
STRANGE = RSAKey.generate_key(2048, {"kid": "rsa"})
"""It has the name of the published key, and is another one."""


def signed(claims: Claims, key: RSAKey | ECKey | OctKey = RSA, alg: str = "RS256", **header: Any) -> str:
    named = {"kid": key.kid} if key.kid else {}
    return jwt.encode({"alg": alg, **named, **header}, claims, key, algorithms=[alg])


def signed_by_hand(header: Claims, body: bytes, secret: bytes | None = None) -> str:
    """Sign what no library would: RS256 by the published key, or HS256 by a secret."""
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (orjson.dumps(header), body)]
    message = b".".join(parts)
    if secret is not None:
        signature = hmac.digest(secret, message, "sha256")
    else:
        private = RSA.private_key
        assert private is not None
        signature = private.sign(message, PKCS1v15(), SHA256())
    return (message + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Issuer:
    """Discovery, keys, a token endpoint and userinfo; what each answers can be changed.

    `token` makes the ID token of the next exchange from the claims that would be right.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.configuration: Claims = {
            "issuer": address,
            "authorization_endpoint": f"{address}/authorize",
            "token_endpoint": f"{address}/token",
            "userinfo_endpoint": f"{address}/userinfo",
            "jwks_uri": f"{address}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }
        self.keys: list[Claims] = [RSA.as_dict(private=False), EC.as_dict(private=False)]
        self.claims: Claims = {}
        self.token: Callable[[Claims], Any] = signed
        self.userinfo: Claims = {}
        self.status = 200
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []

    def answer(self, path: str, form: str) -> Claims:
        match path:
            case "/.well-known/openid-configuration":
                return self.configuration
            case "/keys":
                return {"keys": self.keys}
            case "/token":
                self.forms.append(dict(parse_qsl(form)))
                return {"id_token": self.token(self.claims), "access_token": "at", "token_type": "Bearer"}
            case _:
                return self.userinfo

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            form = (await reader.readexactly(int(headers.get("content-length", "0")))).decode()
            path = request.split(" ")[1]
            self.asked.append(path)
            self.headers.append(headers)
            body = orjson.dumps(self.answer(path, form))
            length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            writer.write(f"HTTP/1.1 {self.status} Told\r\n".encode() + length + body)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Run an issuer until the block ends."""
    holder: list[Issuer] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await holder[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        holder.append(Issuer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        yield holder[0]


def seconds(moment: Any = None) -> int:
    """Return a moment as tokens write it."""
    return int(moment.timestamp() if moment is not None else time.time())
