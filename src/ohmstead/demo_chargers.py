"""The simulated chargers of the demo, in a process of their own so that they use real sockets.

What they are goes in by standard input, which stays open: when the process that started them ends in any way,
they see the end of it and leave, so nothing is orphaned. (And no password is in a list of processes.)
"""

import asyncio
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from ohmstead_simulator.events import Event
from ohmstead_simulator.fleet import demo_fleet

GRACE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What the process is told: the server's address, `(id, connectors, kW, AC|DC, password)`s and tags.

    `certificate` is the server's own in PEM, where it has one.
    """

    url: str
    chargers: Sequence[tuple[str, int, float, str, str | None]]
    id_tags: Sequence[str]
    certificate: str | None = None


def trusting(certificate: str) -> ssl.SSLContext:
    """Trust a server that shows this certificate, and no other: who issued it and its names do not matter.

    The demo talks to itself by the loopback address, which hardly any certificate names.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it may be none that signs others
    context.load_verify_locations(cadata=certificate)
    return context


class Complaints:
    """Says once why chargers cannot connect, and again only after one could."""

    def __init__(self) -> None:
        self._said = False

    def hear(self, event: Event) -> None:
        """Look at one event of a charger."""
        if event.kind == "connected":
            self._said = False
        elif event.kind == "connect_failed" and not self._said:
            self._said = True
            text = f"The simulated charger {event.charger_id} cannot connect: {event.detail}"
            print(text, file=sys.stderr, flush=True)  # noqa: T201 # this process has nothing else to say it with


class ChargerProcess:
    """The process of the simulated chargers; a context manager that ends it.

    It has a session of its own, which keeps Ctrl-C from it: the chargers leave before the server does.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-m", "ohmstead.demo_chargers"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True)
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(asdict(self._work)) + "\n")
            self._process.stdin.flush()

    def stop(self) -> None:
        """End the process: first asked to, then made to. Blocks; doing it twice is harmless."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.communicate(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


async def live() -> None:
    """Be the process: read the work, then keep the chargers living until told to stop or left alone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    told = asyncio.StreamReader(limit=1024 * 1024)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(told), sys.stdin)
    work = Work(**json.loads(await told.readline()))
    chargers = [(name, plugs, kw, current, password) for name, plugs, kw, current, password in work.chargers]

    async def leave_when_alone() -> None:
        await told.read()
        stop.set()

    alone = asyncio.create_task(leave_when_alone())
    await demo_fleet(
        work.url,
        chargers,
        work.id_tags,
        stop=stop,
        on_event=Complaints().hear,
        tls=None if work.certificate is None else trusting(work.certificate),
    )
    alone.cancel()


if __name__ == "__main__":
    asyncio.run(live())
