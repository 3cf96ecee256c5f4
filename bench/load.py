"""The load process: holds many cheap chargers and does what its parent says, one JSON line in, one out.

connect  {host, port, first, count, at_once, sessions}   until every charger has booted
run      {seconds, warmup, rate}                         full speed, or `rate` messages/s in all
close    {}                                              end the transactions, close the sockets
"""

import asyncio
import gc
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import uvloop

from bench.charger import CallFailed, Charger, Tally, id_tag, identity
from bench.histogram import Histogram
from bench.wire import handshake

_HANDSHAKES_AT_ONCE = 50
_LAST_ANSWERS_SECONDS = 30.0


class LoadProcess:
    """The chargers of this process."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.chargers: list[Charger] = []

    async def connect(
        self, *, host: str, port: int, first: int, count: int, at_once: bool, sessions: bool
    ) -> dict[str, Any]:
        """Connect `count` chargers; each boots, reports two connectors and, on demand, starts charging."""
        gate = asyncio.Semaphore(count if at_once else _HANDSHAKES_AT_ONCE)
        began = time.perf_counter()

        async def one(number: int) -> Charger | None:
            async with gate:
                try:
                    return await self._boot(host, port, number, sessions)
                except (CallFailed, OSError, TimeoutError) as error:
                    self.tally.error(type(error).__name__, str(error))
                    return None

        booted = await asyncio.gather(*(one(number) for number in range(first, first + count)))
        seconds = time.perf_counter() - began
        connected = [charger for charger in booted if charger is not None]
        self.chargers += connected
        return {"seconds": seconds, "connected": len(connected)}

    async def _boot(self, host: str, port: int, number: int, sessions: bool) -> Charger:
        name = identity(number)
        upgrade = handshake(host, port, name)
        first_id = random.randrange(10**11)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            _, charger = await loop.create_connection(
                lambda: Charger(name, upgrade, self.tally, first_id), host, port
            )
            await charger.opened
        boot = await charger.call(
            "BootNotification",
            {"chargePointVendor": "Bench", "chargePointModel": "Cheap", "firmwareVersion": "1"},
        )
        if boot.get("status") != "Accepted":
            raise CallFailed(f"{name}: boot answered {boot}")
        for connector in (0, 1):
            await charger.call(
                "StatusNotification",
                {
                    "connectorId": connector,
                    "errorCode": "NoError",
                    "status": "Available",
                    "timestamp": charger.now(),
                },
            )
        if sessions:
            await self._start(charger, number)
        return charger

    async def _start(self, charger: Charger, number: int) -> None:
        tag = id_tag(number)
        await charger.call("Authorize", {"idTag": tag})
        start = await charger.call(
            "StartTransaction",
            {"connectorId": 1, "idTag": tag, "meterStart": charger.register, "timestamp": charger.now()},
        )
        if start["idTagInfo"]["status"] != "Accepted":
            raise CallFailed(f"{charger.identity}: start answered {start}")
        charger.charge(start["transactionId"])

    async def run(self, *, seconds: float, warmup: float, rate: float | None) -> dict[str, Any]:
        """Load for `warmup`, then `seconds`; only these are measured. All open answers are awaited."""
        tally = self.tally
        paced: asyncio.Task[None] | None = None
        if rate is None:
            tally.sending = True
            for charger in self.chargers:
                charger.begin()
        else:
            paced = asyncio.create_task(self._pace(rate))
        await asyncio.sleep(warmup)
        window = tally.histogram = Histogram()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        tally.histogram = Histogram()
        measured, used = time.perf_counter() - began, time.process_time() - cpu
        tally.sending = False
        if paced is not None:
            paced.cancel()
        await self._last_answers()
        return {"seconds": measured, "cpu_seconds": used, "histogram": window.sparse()}

    async def _last_answers(self) -> None:
        # Polled: a callback for an idle charger would cost every message of the hot path.
        late = time.perf_counter() + _LAST_ANSWERS_SECONDS
        while any(not charger.idle for charger in self.chargers):
            if time.perf_counter() > late:
                for charger in self.chargers:
                    if not charger.idle:
                        self.tally.error("no answer", charger.identity)
                return
            await asyncio.sleep(0.02)

    async def _pace(self, rate: float) -> None:
        gap = 1e9 / rate
        due = float(time.perf_counter_ns())
        turn, chargers = 0, self.chargers
        while True:
            now = time.perf_counter_ns()
            while due <= now:
                chargers[turn].offer(int(due), now)
                turn = (turn + 1) % len(chargers)
                due += gap
            await asyncio.sleep(0.001)

    async def close(self) -> dict[str, Any]:
        """End the transactions as a charger does, then close every connection."""
        gate = asyncio.Semaphore(_HANDSHAKES_AT_ONCE)

        async def one(charger: Charger) -> None:
            async with gate:
                if charger.transaction is not None and charger.idle:
                    stop = {
                        "transactionId": charger.transaction,
                        "meterStop": charger.register,
                        "timestamp": charger.now(),
                    }
                    try:
                        await charger.call("StopTransaction", stop)
                    except (CallFailed, TimeoutError) as error:
                        self.tally.error(type(error).__name__, str(error))
                charger.close()

        await asyncio.gather(*(one(charger) for charger in self.chargers))
        self.chargers = []
        return {}

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do one order; the answer always carries the counters since the process began."""
        work: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "connect": self.connect,
            "run": self.run,
            "close": self.close,
        }
        answer = await work[order.pop("do")](**order)
        tally = self.tally
        answer["answered"] = tally.answered
        answer["errors"] = dict(tally.errors)
        answer["first_errors"] = tally.first_errors
        return answer


async def _serve() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = LoadProcess()
    while line := await reader.readline():
        answer = await load.obey(orjson.loads(line))
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    gc.disable()  # the hot path makes no cycles, and a collection would show as latency of the server
    uvloop.run(_serve())
