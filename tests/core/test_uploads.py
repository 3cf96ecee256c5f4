"""Files that come in: bare or as a form, in whatever pieces, and what is no form."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st

from ohmstead.core import uploads
from ohmstead.core.errors import Invalid
from ohmstead.core.uploads import (
    FIELD_BYTES,
    FIELDS,
    PATH_OF_UPLOADS,
    IncomingFile,
    UploadStalled,
    file_name,
)

BOUNDARY = "XboundaryX"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def request(*pieces: bytes, headers: dict[str, str] | None = None, left: bool = False) -> Request:
    """A request whose body comes in these pieces; with `left` its sender goes before the end."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": True} for piece in pieces
    ]
    messages.append(
        {"type": "http.disconnect"} if left else {"type": "http.request", "body": b"", "more_body": False}
    )

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    told = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def all_of(stream: IncomingFile) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def read(body: bytes, content_type: str = FORM) -> tuple[bytes, IncomingFile]:
    incoming = IncomingFile(request(body, headers={"Content-Type": content_type}))
    return await all_of(incoming), incoming


class TestBare:
    async def test_the_body_is_the_file(self) -> None:
        incoming = IncomingFile(request(b"one", b"", b"two"))
        assert await all_of(incoming) == b"onetwo"
        assert (incoming.name, incoming.fields) == ("", {})

    async def test_its_name_may_stand_in_a_header(self) -> None:
        disposition = {"Content-Disposition": 'attachment; filename="../../log.zip"'}
        assert IncomingFile(request(b"x", headers=disposition)).name == "log.zip"

    async def test_a_sender_that_goes_and_one_that_is_silent_are_no_crash(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UploadStalled, match="broke"):
            await all_of(IncomingFile(request(b"half", left=True)))
        monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.01)

        async def never() -> AsyncIterator[bytes]:
            yield b"begun"
            await asyncio.Event().wait()

        silent = request()
        silent.stream = never  # type: ignore[method-assign,assignment] # stands for a socket that gives nothing
        with pytest.raises(UploadStalled, match="minute"):
            await all_of(IncomingFile(silent))


class TestForm:
    @given(cuts=st.lists(st.integers(0, 400), max_size=12), body=st.binary(max_size=200))
    async def test_it_is_read_alike_in_whatever_pieces_it_comes(self, cuts: list[int], body: bytes) -> None:
        text = form(part("vendor", b"Acme"), part("file", body, "fw.bin"), part("version", b"1.2"))
        places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
        pieces = [text[start:stop] for start, stop in pairwise(places)]
        incoming = IncomingFile(request(*pieces, headers={"Content-Type": FORM}))
        assert await all_of(incoming) == body
        assert incoming.fields == {"vendor": "Acme", "version": "1.2"}
        assert incoming.name == "fw.bin"

    async def test_only_its_first_file_counts(self) -> None:
        content, incoming = await read(form(part("a", b"one", "a.bin"), part("b", b"two", "b.bin")))
        assert (content, incoming.name) == (b"one", "a.bin")

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            (b"", "ends too early"),
            (b"garbage", "."),
            (part("file", b"x", "a.bin"), "ends too early"),
            (form(part("vendor", b"Acme")), "no file"),
            (form(part("vendor", b"x" * (FIELD_BYTES + 1))), "longer than"),
            (form(*(part(f"f{number}", b"x") for number in range(FIELDS + 1))), "more than"),
            (f"--{BOUNDARY}\r\n".encode() + b"X: " + b"y" * 9000 + b"\r\n\r\n", "."),
        ],
    )
    async def test_what_is_no_form_with_a_file_is_refused(self, body: bytes, why: str) -> None:
        with pytest.raises(Invalid, match=why):
            await read(body)

    @pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
    async def test_one_without_a_boundary_is_refused(self, content_type: str) -> None:
        with pytest.raises(Invalid, match="boundary"):
            await read(form(part("file", b"x", "a")), content_type)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("fw.bin", "fw.bin"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\log 1.zip", "log_1.zip"),
        ('a"b\r\nSet-Cookie: x.log', "a_b_Set-Cookie_x.log"),
        ("...hidden", "hidden"),
        ("日本", ""),
        ("", ""),
        ("/", ""),
        ("x" * 300 + ".zip", "x" * 96 + ".zip"),
    ],
)
def test_a_name_is_made_harmless(given: str, name: str) -> None:
    assert file_name(given) == name


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/uploads/token", True),
        ("/uploads/token/a/b.zip", True),
        ("/api/admin/firmware", True),
        ("/uploads", False),
        ("/uploadsx/token", False),
        ("/api/uploads/token", False),
        ("/api/admin/firmware/1", False),
        ("/api/admin/firmware-updates", False),
        ("/api/admin/stations", False),
    ],
)
def test_long_bodies_are_let_through_where_files_come_in_and_nowhere_else(path: str, *, may: bool) -> None:
    assert (PATH_OF_UPLOADS.match(path) is not None) is may
