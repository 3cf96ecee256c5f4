"""`python -m bench --sign-in`: what everybody else waits for while many people sign in.

Thirty sign-ins a second arrive, whether the earlier ones are answered or not; each hashes a password.
Meanwhile chargers send messages and somebody asks `/health`, both at a fixed rate.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.api import Api, ApiError
from bench.driver import Load
from bench.histogram import Histogram
from bench.ohmstead_server import OhmsteadServer
from bench.servers import HOST

TARGET_MS = 100.0
HEALTH_RATE = 50.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SignInPlan:
    """How many chargers, messages and sign-ins a second, and for how long."""

    seconds: float = 20.0
    warmup: float = 3.0
    chargers: int = 200
    messages: float = 1000.0
    sign_ins: float = 30.0


@dataclass(slots=True)
class SignIns:
    """What was measured, in milliseconds; `refused` counts the sign-ins that were told to come back (503)."""

    health: Histogram = field(default_factory=Histogram)
    message: Histogram = field(default_factory=Histogram)
    sign_in: Histogram = field(default_factory=Histogram)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def met(self) -> bool:
        """Whether nobody else waited too long."""
        return all(one.percentile(0.99) < TARGET_MS for one in (self.health, self.message))


class SignInServer(OhmsteadServer):
    """Ohmstead; all sign-ins come from one address here, which is freed from the limit of addresses."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"OHMSTEAD_RATE_LIMIT_EXEMPT": "127.0.0.0/8"}

    async def sign_in(self) -> None:
        """Sign the administrator in, on a connection of its own. Raises ApiError."""
        api = Api(HOST, self.port)
        try:
            await api.login(self._EMAIL, self._password)
        finally:
            await api.close()


async def sign_ins(plan: SignInPlan, say: Say) -> SignIns:
    """Measure on a server and a database of its own."""
    result = SignIns()
    async with SignInServer(n=plan.chargers) as server, Load(HOST, server.port, 1) as load:
        await load.connect(plan.chargers, sessions=True)
        say(f"{plan.sign_ins:.0f} sign-ins/s beside {plan.messages:,.0f} messages/s for {plan.seconds:.0f} s")
        others = [
            asyncio.create_task(_arriving(server, plan, result)),
            asyncio.create_task(_asking(server, plan, result)),
        ]
        window = await load.run(plan.seconds, warmup=plan.warmup, rate=plan.messages)
        result.message = window.histogram
        for other in others:
            await other
        await load.close()
    return result


async def _arriving(server: SignInServer, plan: SignInPlan, result: SignIns) -> None:
    """Sign people in at a fixed rate, from the begin of the warm-up to the end of the measured seconds."""

    async def one() -> None:
        began = time.perf_counter()
        try:
            await server.sign_in()
        except ApiError as error:
            if "answered 503" not in str(error):
                raise
            result.refused["503"] += 1
        else:
            result.sign_in.add(int((time.perf_counter() - began) * 1e6))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int((plan.warmup + plan.seconds) * plan.sign_ins)):
            await asyncio.sleep(begin + number / plan.sign_ins - time.perf_counter())
            tasks.create_task(one())


async def _asking(server: SignInServer, plan: SignInPlan, result: SignIns) -> None:
    """Ask `/health` at a fixed rate on one connection; what comes due late counts from when it was due."""
    api = Api(HOST, server.port)
    begin = time.perf_counter() + plan.warmup
    await asyncio.sleep(plan.warmup)
    for number in range(int(plan.seconds * HEALTH_RATE)):
        due = begin + number / HEALTH_RATE
        await asyncio.sleep(due - time.perf_counter())
        began = min(due, time.perf_counter())  # the loop may wake a moment too early
        await api.get("/health")
        result.health.add(int((time.perf_counter() - began) * 1e6))
    await api.close()


def sign_in_table(plan: SignInPlan, result: SignIns) -> str:
    """The figures as a table."""
    rows = (
        (
            f"`/health` while {plan.sign_ins:.0f} sign-ins/s arrive",
            result.health,
            f"p99 < {TARGET_MS:.0f} ms",
        ),
        (f"message of a charger, of {plan.messages:,.0f}/s", result.message, f"p99 < {TARGET_MS:.0f} ms"),
        (f"sign-in ({result.refused.total()} were told to come back)", result.sign_in, ""),
    )
    lines = ["|  | p99 / p50, ms | target | met |", "|---|---:|---|---|"]
    for name, found, target in rows:
        p99, p50 = found.percentile(0.99), found.percentile(0.5)
        met = ("yes" if p99 < TARGET_MS else "no") if target else ""
        lines.append(f"| {name} | {p99:.1f} / {p50:.1f} | {target} | {met} |")
    return "\n".join(lines)
