"""Frames of RFC 6455, as far as they are read and written here the short way, and who takes them."""

from typing import Protocol

TEXT_FRAME = 0x81
"""The first byte of a text frame that is whole: FIN, and the opcode of text."""


class FrameSink(Protocol):
    """Who takes the frames of a socket."""

    def frame_received(self, text: str) -> int:
        """Take a text frame; returns how many wait, so that a flood is slowed down at the socket."""

    def frame_refused(self, beginning: bytes, code: int, why: str) -> None:
        """Take note of a frame that ends the socket; of a long one only the beginning is given."""

    def hold(self) -> None:
        """Send no more answers for now: the charger does not read those that it has got."""

    def release(self) -> int:
        """Send on; returns how many frames wait."""

    def closed(self, code: int, reason: str) -> None:
        """The socket is gone."""


def text_header(length: int) -> bytes:
    """Return the header of a text frame of a server, which is not masked (RFC 6455 5.2)."""
    if length < 126:
        return bytes((TEXT_FRAME, length))
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big")
    return b"\x81\x7f" + length.to_bytes(8, "big")


def frame_bounds(data: bytes, start: int) -> tuple[int, int, int]:
    """Return the first byte of the frame at `start`, where its payload begins, and where it ends.

    The end is 0 while the header is not complete (RFC 6455 5.2).
    """
    have = len(data) - start
    if have < 2:
        return 0, 0, 0
    masked, length = data[start + 1] & 0x80, data[start + 1] & 0x7F
    payload = start + (6 if masked else 2)
    if length == 126:
        if have < 4:
            return 0, 0, 0
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        payload += 2
    elif length == 127:
        if have < 10:
            return 0, 0, 0
        length = int.from_bytes(data[start + 2 : start + 10], "big")
        payload += 8
    return data[start], payload, payload + length
