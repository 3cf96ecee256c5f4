"""Just enough of RFC 6455 for a load client: a handshake, masked text frames out, plain frames in.

The mask key is zero. Section 5.3 wants an unpredictable key so that browsers cannot be used against proxies;
a server cannot tell and must unmask all the same, and the client is spared a pass over each payload.
"""

import base64
import os
from urllib.parse import quote

TEXT = 0x81
CLOSE = 0x88
PING = 0x89
PONG = 0x8A
_ZERO_KEY = b"\0\0\0\0"


class WireError(Exception):
    """The server sent something this client does not speak."""


def header(length: int, kind: int = TEXT) -> bytes:
    """The header of a masked frame of `length` bytes, with its key: put the payload right behind it."""
    if length < 126:
        return bytes((kind, 0x80 | length)) + _ZERO_KEY
    if length < 65536:
        return bytes((kind, 0x80 | 126)) + length.to_bytes(2, "big") + _ZERO_KEY
    return bytes((kind, 0x80 | 127)) + length.to_bytes(8, "big") + _ZERO_KEY


def frame(payload: bytes, kind: int = TEXT) -> bytes:
    """One whole masked frame."""
    return header(len(payload), kind) + payload


def handshake(host: str, port: int, identity: str) -> bytes:
    """The upgrade request of charger `identity` for OCPP 1.6J (no compression is offered)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /ocpp/{quote(identity, safe='')} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: ocpp1.6\r\n\r\n"
    ).encode()


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """All whole frames in `data` as (first byte, payload), and the rest. Raises WireError for fragments."""
    frames: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        kind, length, start = data[at], data[at + 1], at + 2
        if not kind & 0x80 or not kind & 0x0F:
            raise WireError("fragmented message")
        if length == 126:
            length, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif length == 127:
            length, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        if start > end or start + length > end:
            break
        frames.append((kind, data[start : start + length]))
        at = start + length
    return frames, data[at:]
