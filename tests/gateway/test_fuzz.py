"""Raw frames of any kind against the live socket: never a crash, and the next message is served."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.chargers import RawCharger, charger
from tests.payloads import complete, plain
from tests.running import RunningServer
from tests.world import World
from websockets.frames import Frame, Opcode

from ohmstead.ocpp.v16.actions import ACTIONS, FROM_CHARGER
from ohmstead.ocpp.v16.schemas import load_schema
from ohmstead.stations.models import Charger

VALID = [
    json.dumps([2, "f", action, complete(plain(load_schema(action)))]) for action in sorted(FROM_CHARGER)
]
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
frames = st.tuples(
    st.sampled_from([2, 2, 2, 3, 4, 2.0, "2", None, -1]) | numbers,
    st.text(max_size=40) | values,
    st.sampled_from(sorted(ACTIONS)) | st.text(max_size=20) | values,
    values | st.dictionaries(st.sampled_from(["connectorId", "idTag", "timestamp"]), values),
).map(list)


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A valid CALL with a piece cut out, put in twice, or replaced."""
    text = draw(st.sampled_from(VALID))
    start = draw(st.integers(0, len(text)))
    stop = draw(st.integers(start, len(text)))
    piece = draw(st.sampled_from(["", text[start:stop] * 2, "null", "{", '"', "\\u0000", "1e400", "-", "\0"]))
    return text[:start] + piece + text[stop:]


@st.composite
def nested(draw: st.DrawFn) -> str:
    """Containers in containers, closed or not."""
    depth = draw(st.sampled_from([10, 200, 250, 260, 1000, 1025, 20_000]))
    opening, closing = draw(
        st.sampled_from([("[", "]"), ('{"a":', "}"), ('{"key":', "}"), ('[{"key":', "}]"), ('{"key":"', "}")])
    )
    body = opening * depth + "1" + draw(st.sampled_from([closing * depth, ""]))
    return draw(st.sampled_from([body, f'[2,"n","DataTransfer",{{"vendorId":"v","data":{body}}}]']))


texts = (
    st.text(max_size=200)
    | frames.map(json.dumps)
    | values.map(json.dumps)
    | mangled()
    | nested()
    | st.integers(1, 5000).map(lambda digits: f'[2,"h","MeterValues",{{"connectorId":{"9" * digits}}}]')
)
fuzz = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def no_errors_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a charger sends is an error of ours."""
    yield
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.fixture(scope="module")
async def fuzzed(server: RunningServer) -> Charger:
    """One charger for all examples: what it has sent before must not matter."""
    return await World(server.database, server.settings, server.app.state.clock).charger()


@pytest.mark.also_long(10)
@fuzz
@given(batch=st.lists(texts, min_size=1, max_size=4))
async def test_any_text_leaves_the_socket_alive(
    server: RunningServer, fuzzed: Charger, batch: list[str]
) -> None:
    async with charger(server.ws, fuzzed.id) as raw:
        for text in batch:
            await raw.send(text)
        await raw.result("Heartbeat", message_id="still alive")
        assert raw.socket.close_code is None


@pytest.mark.also_long(10)
@fuzz
@given(message=st.binary(max_size=200) | texts.map(str.encode))
async def test_any_binary_frame_is_text_or_closes_with_1007(
    server: RunningServer, fuzzed: Charger, message: bytes
) -> None:
    async with charger(server.ws, fuzzed.id) as raw:
        await raw.send(message)
        try:
            message.decode()
        except UnicodeDecodeError:
            assert (await raw.closed())[0] == 1007
        else:
            await raw.result("Heartbeat", message_id="still alive")


def wire(*parts: Frame) -> bytes:
    return b"".join(part.serialize(mask=True) for part in parts)


BROKEN: dict[str, tuple[bytes, int]] = {
    "text that is not UTF-8": (wire(Frame(Opcode.TEXT, b'[2,"\xff","Heartbeat",{}]')), 1007),
    "a sequence cut off": (wire(Frame(Opcode.TEXT, b"\xe2\x82")), 1007),
    "an encoded surrogate": (wire(Frame(Opcode.TEXT, b"\xed\xa0\x80")), 1007),
    "an unmasked frame": (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
    "a reserved bit": (b"\xc1\x82\0\0\0\0{}", 1002),
    "an unknown opcode": (b"\x83\x80\0\0\0\0", 1002),
    "a continuation of nothing": (wire(Frame(Opcode.CONT, b"{}")), 1002),
    "a text inside of a text": (wire(Frame(Opcode.TEXT, b"[2", fin=False), Frame(Opcode.TEXT, b"{}")), 1002),
    "a long ping": (b"\x89\xfe\x00\x7e\0\0\0\0" + b"x" * 126, 1002),
    "a length of 2^62 bytes": (b"\x81\xff" + (2**62).to_bytes(8, "big") + b"\0\0\0\0", 1009),
    "one byte too long": (wire(Frame(Opcode.TEXT, b"x" * 262_145)), 1009),
    "fragments that are too long together": (
        wire(*(Frame(Opcode.TEXT if n == 0 else Opcode.CONT, b"x" * 30_000, fin=False) for n in range(9))),
        1009,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_breaks_the_protocol_closes_that_socket_only(
    server: RunningServer, fuzzed: Charger, server_world: World, name: str
) -> None:
    data, code = BROKEN[name]
    neighbour = await server_world.charger()
    async with charger(server.ws, neighbour.id) as other:
        async with charger(server.ws, fuzzed.id) as raw:
            await raw.result("Heartbeat")
            raw.socket.transport.write(data)
            assert (await raw.closed())[0] == code
        await other.result("Heartbeat")
    async with charger(server.ws, fuzzed.id) as raw:
        await raw.result("Heartbeat")


async def test_a_call_in_fragments_with_pings_between_is_one_call(raw: RawCharger) -> None:
    text = json.dumps([2, "pieces", "DataTransfer", {"vendorId": "é" * 40}], ensure_ascii=False).encode()
    answer = raw.expect("pieces")
    for place in range(len(text)):
        opcode = Opcode.TEXT if place == 0 else Opcode.CONT
        raw.socket.transport.write(wire(Frame(opcode, text[place : place + 1], fin=place == len(text) - 1)))
        if place % 10 == 0:
            raw.socket.transport.write(wire(Frame(Opcode.PING, b"p")))
    assert (await asyncio.wait_for(answer, 60))[2] == {"status": "UnknownVendorId"}


@pytest.mark.also_long(10)
@fuzz
@given(data=st.data())
async def test_a_frame_cut_off_by_the_end_of_the_socket_harms_nothing(
    server: RunningServer, fuzzed: Charger, data: Any
) -> None:
    frame = wire(Frame(Opcode.TEXT, data.draw(st.sampled_from(VALID)).encode()))
    raw = await RawCharger.connect(server.ws, fuzzed.id)
    raw.socket.transport.write(frame[: data.draw(st.integers(0, len(frame) - 1))])
    await raw.vanish()
    async with charger(server.ws, fuzzed.id) as again:
        await again.result("Heartbeat")
