"""The life of a charge point: power, connection, registration (OCPP 1.6 4.2, 4.6; OCPP-J 3)."""

import asyncio
import contextlib
import itertools
import random
import ssl
import uuid
from datetime import datetime

from ocpp.charge_point import camel_to_snake_case
from ocpp.v16 import call, call_result
from websockets.asyncio.client import ClientConnection

from ohmstead_simulator.charging import ChargingStation
from ohmstead_simulator.clock import Clock, ScaledClock
from ohmstead_simulator.connector import Connector
from ohmstead_simulator.errors import CallFailed, NoAnswer, NotPossible, Refused
from ohmstead_simulator.events import OnEvent
from ohmstead_simulator.link import Backoff, Endpoint, Link
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.state import wire_time

REBOOT_SECONDS = 5.0
# A connection that lived that long was a good one: the next loss begins with short delays again.
STABLE_SECONDS = 10.0
BOOT_RETRY_SECONDS = 30.0


class LivingStation(ChargingStation):
    """Adds the way from power-up to a served connection, and back."""

    def __init__(
        self,
        url: str,
        spec: ChargerSpec | str,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        on_event: OnEvent | None = None,
        keep_connected: bool = False,
        backoff_first: float = 1.0,
        response_timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is the central system's address without the identity; `spec` may be just the identity."""
        if isinstance(spec, str):
            spec = ChargerSpec(spec)
        rng = random.Random(f"{seed}:{spec.charger_id}" if seed is not None else None)
        super().__init__(spec, clock or ScaledClock(), rng, on_event)
        self.url = url
        self.password = spec.password
        self.response_timeout = response_timeout
        self.boot_status: str | None = None
        self._tls = tls
        self._keep_connected = keep_connected
        self._backoff = Backoff(rng, first=backoff_first)
        self._powered = True
        self._away = False
        """The connection is cut on purpose (`offline`)."""
        self._boot_begun = False
        self._connecting = asyncio.Lock()
        self._cut_at: datetime | None = None
        self._message_ids = itertools.count(1)
        self._session_tasks: set[asyncio.Task[None]] = set()

    # --- connection

    async def connect(self) -> None:
        """Open the socket; raises Refused. A mere loss of connection needs no BootNotification again."""
        self._away = False
        async with self._connecting:
            if not self.connected:
                await self._open()

    async def _open(self) -> None:
        if not self._powered:
            raise NotPossible("the charge point has no power")
        interval = self.configuration.number("WebSocketPingInterval")
        with self.clock.hold():
            self.link = await Link.open(
                self.url,
                self.charger_id,
                password=self.password,
                make_endpoint=self.make_endpoint,
                clock=self.clock,
                on_lost=self._on_lost,
                ping_interval=float(interval) if interval else None,
                tls=self._tls,
            )
        self.emit("connected")
        if self.registered:
            self.spawn(self._resume())
        elif self._boot_begun:
            self.spawn(self._boot_again(0))

    async def connect_persistently(self) -> None:
        """Try until the central system takes the connection, or `offline` or `close` end the attempts."""
        self._away = False
        while self._powered and not self._away and not self.connected:
            try:
                await self.connect()
            except Refused as error:
                self.emit("connect_failed", detail=str(error))
                await asyncio.sleep(self._backoff.next())

    def next_message_id(self) -> str:
        """The id of the next CALL: random, or a counter that begins again with each boot (quirk)."""
        return str(next(self._message_ids)) if "repeated_ids" in self.spec.quirks else str(uuid.uuid4())

    def make_endpoint(self, connection: ClientConnection) -> Endpoint:
        """The OCPP endpoint that answers the commands on a new connection."""
        raise NotImplementedError

    def _on_lost(self, reason: str) -> None:
        for task in self._session_tasks:
            task.cancel()
        self._session_tasks.clear()
        self.emit("disconnected", detail=reason)
        if self.link is not None and self.link.age > STABLE_SECONDS:
            self._backoff.reset()
        if self._keep_connected and self._powered and not self._away:
            self.spawn(self._reconnect())

    async def _reconnect(self) -> None:
        await asyncio.sleep(self._backoff.next())
        if not self._away:
            await self.connect_persistently()

    async def retire(self, patience: float = 1.5) -> None:
        """End for good, but in good order: running transactions are stopped first when that is possible.

        `patience` bounds the wait for the central system, in real seconds.
        """
        self._keep_connected = False
        for plug in self.connectors.values():
            if plug.transaction is not None:
                self.end_transaction(plug, "Other")
        if self.usable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await asyncio.gather(*(self.delivered(entry) for entry in self.queue.pending()))
        await self.close()

    async def close(self, abrupt: bool = False) -> None:
        """End for good: no reconnect, no task left."""
        self._keep_connected = False
        self._away = True
        if self.link is not None:
            await self.link.close(abrupt)
        await self.cancel_tasks()

    async def disconnect(self, abrupt: bool = False) -> None:
        """End the connection and stay away until `connect()`, `connect_persistently()` or `online()`."""
        self._away = True
        if self.link is not None and self.link.is_open:
            with self.clock.hold():
                await self.link.close(abrupt)

    async def offline(self, abrupt: bool = True) -> None:
        """The network is away. Charging goes on, transaction messages wait in the queue."""
        await self.disconnect(abrupt)
        self.emit("offline")

    async def online(self) -> None:
        """The network is back: reconnect, report the states that changed, then replay the queue in order."""
        if self._keep_connected:
            await self.connect_persistently()
        else:
            await self.connect()
        self.emit("online")

    async def _resume(self) -> None:
        """After a reconnect: first the states that changed, then the queue."""
        for plug in self.connectors.values():
            if plug.reported != (plug.status, plug.error_code):
                await self.report(plug)
        self._start_session_tasks()

    def _start_session_tasks(self) -> None:
        for task in self._session_tasks:
            task.cancel()
        self._session_tasks = {
            self.spawn(self._heartbeats()),
            self.spawn(self._deliver_queue()),
            self.spawn(self.sample_aligned()),
        }

    def restart_session_tasks(self) -> None:
        """An interval was changed: the loops that wait for the old one begin anew."""
        if self.usable:
            self._start_session_tasks()

    async def _deliver_queue(self) -> None:
        await self.queue.deliver(
            self.send_entry,
            self.clock.sleep,
            lambda: self.configuration.number("TransactionMessageAttempts"),
            lambda: self.configuration.number("TransactionMessageRetryInterval"),
            lambda entry, why: self.emit(
                "error", entry.transaction.connector_id, f"{entry.action} given up: {why}"
            ),
        )

    # --- boot and heartbeat

    async def boot(self) -> str:
        """Send BootNotification; answers Accepted, Pending or Rejected (OCPP 1.6 4.2).

        Accepted: clock and heartbeat interval are taken over, all states reported, queued messages
        sent. Otherwise it asks again after the given interval, by itself.
        """
        self._boot_begun = True
        try:
            answer = await self._send_boot()
        except (CallFailed, NoAnswer):
            self.spawn(self._boot_again(BOOT_RETRY_SECONDS))
            raise
        self.boot_status = str(answer.status)
        if self.boot_status != "Accepted":
            self.emit("boot_refused", detail=self.boot_status)
            self.spawn(self._boot_again(answer.interval or 60))
            return self.boot_status
        self.accepted.set()
        self.sync_clock(answer.current_time)
        if answer.interval:
            self.configuration.set_own("HeartbeatInterval", str(answer.interval))
        self.emit("booted")
        await self.report_all()
        self._start_session_tasks()
        return self.boot_status

    async def _send_boot(self) -> call_result.BootNotification:
        payload = self.boot_payload()
        if "status_before_boot" not in self.spec.quirks or self.link is None:
            return await self.call(payload)
        statuses = [self.status_payload(plug) for plug in self.connectors.values()]
        answers = await self.link.pipeline([payload, *statuses])
        return call_result.BootNotification(**camel_to_snake_case(answers[0]))

    async def _boot_again(self, delay: float) -> None:
        await self.clock.sleep(delay)
        if self.connected and not self.registered:
            await self.boot()

    def boot_payload(self) -> call.BootNotification:
        """The plate of the charge point."""
        return call.BootNotification(
            charge_point_vendor=self.spec.vendor[:20],
            charge_point_model=self.spec.model[:20],
            charge_point_serial_number=self.charger_id[:25],
            firmware_version=self.firmware[:50],
            meter_type="Simulated",
        )

    async def report_all(self) -> None:
        """StatusNotification for connector 0 and each connector."""
        states: list[Connector | None] = [None, *self.connectors.values()]
        if "pipelined" in self.spec.quirks and self.link is not None:
            try:
                await self.link.pipeline([self.status_payload(plug) for plug in states])
            except (CallFailed, NoAnswer) as error:
                self.emit("error", detail=f"StatusNotification: {error}")
            return
        for plug in states:
            await self.report(plug)

    async def heartbeat(self) -> None:
        """Send a Heartbeat now; its answer sets the clock."""
        answer = await self.call(call.Heartbeat())
        self.sync_clock(answer.current_time)

    async def _heartbeats(self) -> None:
        while True:
            await self.clock.sleep(self.configuration.number("HeartbeatInterval") or 300)
            try:
                await self.heartbeat()
            except (CallFailed, NoAnswer) as error:
                self.emit("error", detail=f"Heartbeat: {error}")

    # --- power

    async def cut_power(self) -> None:
        """Darkness: the connection breaks, no energy flows, the running tasks are gone."""
        self.count_energy()
        self._cut_at = self.now()
        self._powered = False
        self.emit("power_cut")
        await self._go_down(abrupt=True)

    async def restore_power(self) -> None:
        """Power is back: transactions end with reason PowerLoss at the time of the cut, then boot.

        With the quirk `register_reset` the meters begin at 0 and the transactions go on instead.
        """
        resumed = "register_reset" in self.spec.quirks
        for plug in self.connectors.values():
            plug.moved_at = self.clock.now()
            if resumed:
                plug.register_wh = 0.0
            elif plug.transaction is not None:
                self.end_transaction(plug, "PowerLoss", at=self._cut_at)
            if plug.transaction is None:
                plug.status = plug.rest_status()
        await self._come_up()
        for plug in self.connectors.values():
            self.begin_sampling(plug)

    async def power_cut(self, seconds: float = 60.0) -> None:
        """A power cut from beginning to end."""
        await self.cut_power()
        await self.clock.sleep(seconds)
        await self.restore_power()

    async def reboot(self, reason: str = "Reboot", hard: bool = False) -> None:
        """Stop the transactions with `reason` and start again; a hard one does not wait for answers."""
        for plug in self.connectors.values():
            if plug.transaction is None:
                continue
            if hard:
                self.end_transaction(plug, reason)
                plug.status = "Finishing"
            else:
                await self.stop(reason, plug.connector_id)
        self._powered = False
        await self._go_down(abrupt=hard)
        await self.clock.sleep(REBOOT_SECONDS)
        self.configuration.rebooted()
        await self._come_up()

    async def _go_down(self, abrupt: bool) -> None:
        if self.link is not None and self.link.is_open:
            with self.clock.hold():
                await self.link.close(abrupt)
        await self.cancel_tasks()
        self._boot_begun = False
        self.forget()

    async def _come_up(self) -> None:
        self._powered = True
        self._message_ids = itertools.count(1)
        if self.spec.clock_start is not None:  # a clock without a battery
            self.set_clock(self.spec.clock_start)
        for plug in self.connectors.values():
            if plug.scheduled is not None and plug.transaction is None:
                plug.operative, plug.scheduled = plug.scheduled, None
            if plug.transaction is None and plug.status not in ("Finishing",):
                plug.status = plug.rest_status()
            if plug.reservation is not None:
                self.spawn(self.expire_reservation(plug, plug.reservation))
        if self._away:
            self._boot_begun = True  # it boots as soon as it is on line again
            return
        if self._keep_connected:
            await self.connect_persistently()
        else:
            await self.connect()
        await self.boot()
        await self.security_event("StartupOfTheDevice")

    async def security_event(self, kind: str, tech_info: str | None = None) -> None:
        """SecurityEventNotification (security whitepaper A04), sent when it can be."""
        if self.usable:
            await self.call(
                call.SecurityEventNotification(
                    type=kind, timestamp=wire_time(self.now()), tech_info=tech_info
                )
            )
