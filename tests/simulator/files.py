"""A small HTTP server of files for charge points: it breaks off, refuses and remembers as told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Request:
    """What somebody asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class FileServer:
    """Gives `files` by their paths and takes what is put. `break_after`: bytes after which it cuts, once."""

    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    break_after: int | None = None
    refuse: dict[str, int] = field(default_factory=dict)
    """The status for a method."""
    url: str = ""

    def of(self, *methods: str) -> list[Request]:
        return [one for one in self.requests if one.method in methods]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["FileServer"]:
        """Listen on localhost."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.strip().split("\r\n")
            method, path, _ = line.split(" ")
            headers = {name.lower(): value for name, value in (one.split(": ", 1) for one in rest)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append(Request(method, path, headers, body))
            writer.write(self._answer(method, path, headers))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        status, content, more = self.refuse.get(method, 200), b"", ""
        if status == 200 and method == "GET":
            content = self.files.get(path, b"")
            status = 200 if path in self.files else 404
            start = headers.get("range", "").removeprefix("bytes=").removesuffix("-")
            if start and status == 200:
                status = 206
                more = f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n"
                content = content[int(start) :]
        length = len(content)
        if self.break_after is not None and content:
            content, self.break_after = content[: self.break_after], None
        head = (
            f'HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nETag: "1"\r\nConnection: close\r\n{more}\r\n'
        )
        return head.encode() + content
