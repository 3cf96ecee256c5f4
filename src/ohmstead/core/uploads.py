"""A file that comes in with a request, as it comes: raw, or as the first file of a multipart form."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Final

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from ohmstead.core.errors import DomainError, Invalid, Kind

IDLE_SECONDS: Final = 60.0
"""A sender that is silent for longer has gone."""
FORM_SLACK: Final = 65_536
"""Bytes that a form may be longer than its file."""
FIELD_BYTES: Final = 2000
FIELDS: Final = 20
NAME_LENGTH: Final = 100
PATH_OF_UPLOADS: Final = re.compile(r"^/(uploads/|api/admin/firmware/?$|api/admin/stations/[^/]+/photo/?$)")
"""Where bodies may be as long as the settings allow for uploads; everywhere else they are short."""


class UploadStalled(DomainError):
    """The sender is silent: most often its connection has broken."""

    kind = Kind.INVALID
    code = "UploadStalled"


class IncomingFile:
    """The one file of a request. Iterate over it once; then `name` and `fields` are known.

    `name` is what the sender calls it (of a form, or the header Content-Disposition), made harmless;
    `fields` are the other members of a form. Iterating raises `Invalid` for a form that cannot be read
    and for one without a file.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.name = file_name(_name_in(request.headers.get("content-disposition", "")))
        self.fields: dict[str, str] = {}
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        self.is_form = kind == b"multipart/form-data"
        self._boundary = options.get(b"boundary", b"")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the bytes of the file."""
        if not self.is_form:
            async for chunk in self._chunks():
                yield chunk
            return
        form = _Form(self._boundary)
        async for chunk in self._chunks():
            form.write(chunk)
            while form.ready:
                yield form.ready.popleft()
        form.finish()
        self.name = file_name(form.name) or self.name
        self.fields = form.fields

    async def _chunks(self) -> AsyncIterator[bytes]:
        stream = self._request.stream()
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise UploadStalled("Nothing has come for a minute. Send the file again.") from None
            except ClientDisconnect:
                raise UploadStalled("The connection broke. Send the file again.") from None
            yield chunk


class _Form:
    """A multipart form that is read while it comes: its first file part goes to `ready`."""

    def __init__(self, boundary: bytes) -> None:
        self.ready: deque[bytes] = deque()
        self.fields: dict[str, str] = {}
        self.name = ""
        self._has_file = False
        self._ended = False
        self._header = self._value = ""
        self._disposition = ""
        self._field: bytearray | None = None
        self._in_file = False
        self._field_name = ""
        if not boundary:
            raise _unreadable("the boundary is missing in Content-Type")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_header,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers,
                    "on_part_data": self._on_data,
                    "on_part_end": self._on_part_end,
                    "on_end": self._on_end,
                },
            )
        except MultipartParseError as error:
            raise _unreadable(str(error)) from error

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise _unreadable(str(error)) from error

    def finish(self) -> None:
        if not self._ended:
            raise _unreadable("it ends too early")
        if not self._has_file:
            raise _unreadable("it holds no file")

    def _begin(self) -> None:
        self._disposition = ""
        self._field, self._in_file = None, False

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end].decode("latin-1")

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end].decode("latin-1")

    def _on_header_end(self) -> None:
        if self._header.lower() == "content-disposition":
            self._disposition = self._value
        self._header = self._value = ""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" in options or b"filename*" in options:
            if not self._has_file:
                self._has_file = self._in_file = True
                self.name = _name_in(self._disposition)
            return
        if len(self.fields) >= FIELDS:
            raise _unreadable(f"it holds more than {FIELDS} fields")
        self._field_name = options.get(b"name", b"").decode("utf-8", "replace")[:NAME_LENGTH]
        self._field = bytearray()

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.ready.append(data[start:end])
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > FIELD_BYTES:
                raise _unreadable(f"the field {self._field_name} is longer than {FIELD_BYTES} bytes")

    def _on_part_end(self) -> None:
        if self._field is not None:
            self.fields[self._field_name] = self._field.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self._ended = True


def file_name(text: str) -> str:
    """Return a name that is harmless as the name of a file everywhere; empty when nothing is left of it."""
    last = PurePosixPath(text.replace("\\", "/")).name
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", last).lstrip(".")[-NAME_LENGTH:]
    return plain.lstrip(".") if plain.strip("_") else ""


def _name_in(disposition: str) -> str:
    _, options = parse_options_header(disposition)
    return options.get(b"filename", b"").decode("utf-8", "replace")


def _unreadable(why: str) -> Invalid:
    return Invalid(
        f"The form cannot be read: {why}. Send multipart/form-data with one file, or the bare file.",
        fields={"body": why},
    )
