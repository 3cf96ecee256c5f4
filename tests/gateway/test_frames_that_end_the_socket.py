"""Frames for which a socket is closed are in the message log: what they began with, and why it ended."""

from typing import Any

import pytest
from tests.chargers import RawCharger, charger, until
from tests.gateway.admin import AdminApi
from tests.running import RunningServer
from websockets.frames import Frame, Opcode

from ohmstead.stations.models import Charger

SECRET = "hunter2hunter2"
LONG = b'[2,"x","DataTransfer",{"vendorId":"v","password":"%s","data":"' % SECRET.encode() + b"x" * 262_144


def wire(*parts: Frame) -> bytes:
    return b"".join(part.serialize(mask=True) for part in parts)


def pieces(data: bytes) -> bytes:
    """A message in fragments, none of which is too long by itself."""
    parts = [data[start : start + 30_000] for start in range(0, len(data), 30_000)]
    return wire(
        *(Frame(Opcode.CONT if number else Opcode.TEXT, part, False) for number, part in enumerate(parts))
    )


ENDING: dict[str, tuple[bytes, int, Any, str]] = {
    "text that is not UTF-8": (
        wire(Frame(Opcode.TEXT, b'[2,"a","Authorize",{"idTag":"\xe9t\xe9"}]')),
        1007,
        [2, "a", "Authorize", {"idTag": "\ufffdt\ufffd"}],
        "the frame is not UTF-8",
    ),
    "a secret that is not UTF-8": (
        wire(Frame(Opcode.TEXT, b'[2,"a","X",{"password":"%s\xff"}]' % SECRET.encode())),
        1007,
        [2, "a", "X", {"password": "***"}],
        "the frame is not UTF-8",
    ),
    "a frame that is too long": (wire(Frame(Opcode.TEXT, LONG)), 1009, '[2,"x","DataTransfer",', "262"),
    "fragments that are too long together": (pieces(LONG), 1009, '[2,"x","DataTransfer",', "262"),
    "a header that promises too much": (b"\x81\xff" + (2**62).to_bytes(8, "big") + b"\0" * 4, 1009, "", ""),
    "half a header that promises too much": (b"\x81\xff" + (2**62).to_bytes(8, "big"), 1009, "", ""),
    "a frame that is not masked": (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002, "", "mask"),
    "an unknown opcode": (b"\x83\x80\0\0\0\0", 1002, "", "opcode"),
}


@pytest.mark.parametrize("name", ENDING)
async def test_it_is_logged_masked_and_cut_with_the_reason(
    server: RunningServer, row: Charger, api: AdminApi, name: str
) -> None:
    data, code, shown, why = ENDING[name]
    raw = await RawCharger.connect(server.ws, row.id)
    await raw.result("Heartbeat")
    raw.socket.transport.write(data)
    assert (await raw.closed())[0] == code
    await raw.close()

    async def logged() -> list[dict[str, Any]]:
        return await api.messages(row.id, errors="true")

    [message] = await until(logged)
    request = message["request"]
    assert request == shown or request.startswith(shown)
    assert len(str(request)) <= 1010
    assert SECRET not in str(message)
    assert (message["error_code"], message["direction"], message["response"]) == (str(code), "in", None)
    assert message["note"].startswith(f"the socket was closed with {code}")
    assert why in message["note"]


async def test_a_frame_as_long_as_one_may_be_is_none_of_them(
    server: RunningServer, row: Charger, api: AdminApi
) -> None:
    async with charger(server.ws, row.id) as raw:
        head = '[2,"x","DataTransfer",{"vendorId":"v","data":"'
        await raw.send(head + "x" * (262_144 - len(head) - 3) + '"}]')
        assert (await raw.stray.get())[:2] == [3, "x"]
        assert raw.socket.close_code is None
    [message] = await api.messages(row.id)
    assert message["error_code"] is None
