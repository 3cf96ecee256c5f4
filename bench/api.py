"""A small HTTP client on one kept-open connection: a command's round trip is measured, not a client."""

import asyncio
import time
from typing import Any

import orjson


class ApiError(Exception):
    """The server answered with another status than 200 or 201, or not as it should."""


class Api:
    """JSON calls to one server, one at a time. Call `login` first."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._token = ""
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def login(self, email: str, password: str) -> None:
        """Take an access token for the calls that follow."""
        answer = await self.post("/api/auth/login", {"username": email, "password": password})
        self._token = answer["accessToken"]

    async def trigger(self, charger: str) -> float:
        """Have `charger` answer a TriggerMessage; returns seconds. Raises ApiError unless it accepts."""
        began = time.perf_counter()
        answer = await self.post(
            f"/api/admin/chargers/{charger}/commands/TriggerMessage", {"requestedMessage": "Heartbeat"}
        )
        taken = time.perf_counter() - began
        if answer.get("status") != "Accepted":
            raise ApiError(f"TriggerMessage answered {answer}")
        return taken

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST a JSON object and return the one that answers. Raises ApiError for a refusal."""
        return await self._request("POST", path, orjson.dumps(body))

    async def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object. Raises ApiError for a refusal."""
        return await self._request("GET", path, b"")

    async def _request(self, method: str, path: str, content: bytes) -> dict[str, Any]:
        if self._writer is None or self._reader is None or self._reader.at_eof():
            await self.close()  # a server closes what was idle for some seconds
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        authorization = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\n{authorization}Content-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        status, answer = await self._response(self._reader)
        if status not in {200, 201}:
            raise ApiError(f"{method} {path} answered {status}: {answer[:300]!r}")
        result: dict[str, Any] = orjson.loads(answer)
        return result

    async def _response(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        if fields.get("transfer-encoding") != "chunked":
            return int(head[0].split()[1]), await reader.readexactly(int(fields.get("content-length", 0)))
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return int(head[0].split()[1]), body

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
