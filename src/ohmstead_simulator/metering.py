"""Energy at the connectors: limits, what flows, and the meter values that tell of it (OCPP 1.6 5.9.1, 7.)."""

import asyncio
import random
from typing import Any

from ocpp.v16 import call

from ohmstead_simulator.clock import Clock
from ohmstead_simulator.connector import Connector
from ohmstead_simulator.errors import CallFailed, NoAnswer
from ohmstead_simulator.events import OnEvent
from ohmstead_simulator.meter import sampled_values
from ohmstead_simulator.profiles import Charge
from ohmstead_simulator.spec import ChargerSpec
from ohmstead_simulator.state import StationState, wire_time
from ohmstead_simulator.transactions import Entry, Transaction

FLOWING = ("Charging", "SuspendedEV", "SuspendedEVSE")


class MeteringStation(StationState):
    """Adds the flow of energy and its samples."""

    def __init__(self, spec: ChargerSpec, clock: Clock, rng: random.Random, on_event: OnEvent | None) -> None:
        super().__init__(spec, clock, rng, on_event)
        self.awaited_profiles: dict[int, dict[str, Any]] = {}
        """Profiles of remote starts whose transaction has not begun, by connector."""
        self._sampling: dict[int, asyncio.Task[None]] = {}

    async def delivered(self, entry: Entry) -> None:
        """Wait for the delivery of a message, as long as there is a connection that may bring it."""
        link = self.link
        if not self.usable or link is None:
            return
        lost = asyncio.ensure_future(link.lost.wait())
        try:
            await asyncio.wait({entry.delivered, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()

    def update(self, plug: Connector) -> None:
        """Count the energy up to now, under the limit that holds."""
        plug.advance(self.clock.now(), self.limit(plug))

    def limit(self, plug: Connector) -> float | None:
        """The limit in W that holds now; None = only the connector's own."""
        transaction = plug.transaction
        if transaction is None:
            return None
        if transaction.status not in (None, "Accepted"):
            return 0.0
        sharing = sum(1 for other in self.connectors.values() if other.charging)
        return self.profiles.limit_w(
            plug.connector_id, self.now(), self.charge_of(plug), plug.phases, max(1, sharing)
        )

    def charge_of(self, plug: Connector) -> Charge | None:
        """What charging profiles need to know of the transaction at a connector."""
        transaction = plug.transaction
        return None if transaction is None else Charge(transaction.transaction_id, transaction.started_at)

    async def follow_limits(self) -> None:
        """Profiles changed: count what flowed, then let the states follow."""
        self.count_energy()
        for plug in self.connectors.values():
            await self.follow(plug)

    async def follow(self, plug: Connector) -> None:
        """Charging, SuspendedEV (the car wants no more) or SuspendedEVSE (the limit is 0)."""
        if plug.transaction is None or plug.car is None or plug.status not in FLOWING:
            return
        if plug.offered_w <= 0:
            await self.set_status(plug, "SuspendedEVSE")
        else:
            await self.set_status(plug, "SuspendedEV" if plug.car.full else "Charging")

    def begin_sampling(self, plug: Connector) -> None:
        """Start the loop of periodic meter values of a connector, in place of an older one."""
        running = self._sampling.pop(plug.connector_id, None)
        if running is not None:
            running.cancel()
        if plug.transaction is not None:
            self._sampling[plug.connector_id] = self.spawn(self._charge(plug, plug.transaction))

    def count_energy(self) -> None:
        """Count the energy of every connector up to now, before a limit changes."""
        for plug in self.connectors.values():
            self.update(plug)

    async def _charge(self, plug: Connector, transaction: Transaction) -> None:
        """Meter values at MeterValueSampleInterval while the transaction runs."""
        while True:
            interval = self.configuration.number("MeterValueSampleInterval")
            await self.clock.sleep(interval or 60)
            if plug.transaction is not transaction:
                return
            self.update(plug)
            if interval:
                self._sample(plug, "Sample.Periodic", "MeterValuesSampledData")
                self.keep_reading(plug, "Sample.Periodic")
            await self.follow(plug)

    async def meter(self, connector: int = 1, context: str = "Sample.Periodic") -> float:
        """Read the meter and send MeterValues; answers the energy register in Wh."""
        plug = self.connector(connector)
        await self._read(plug, context, "MeterValuesSampledData")
        return plug.register_wh

    async def _read(self, plug: Connector, context: str, key: str) -> None:
        """MeterValues now: through the queue within a transaction, else only while on line."""
        self.update(plug)
        if plug.transaction is not None:
            entry = self._sample(plug, context, key)
            if entry is not None:
                await self.delivered(entry)
        elif self.usable and (reading := self._meter_value(plug, context, key)) is not None:
            await self.call(call.MeterValues(connector_id=plug.connector_id, meter_value=[reading]))

    def _sample(self, plug: Connector, context: str, key: str) -> Entry | None:
        transaction = plug.transaction
        if transaction is None:
            return None
        reading = self._meter_value(plug, context, key)
        if reading is None:
            return None
        transaction.samples += 1
        payload = {"connector_id": plug.connector_id, "meter_value": [reading]}
        return self.queue.put("MeterValues", transaction, payload)

    def keep_reading(self, plug: Connector, context: str) -> None:
        """Keep a reading for transactionData of the stop, when StopTxnSampledData asks for one."""
        reading = self._meter_value(plug, context, "StopTxnSampledData")
        if reading is not None and plug.transaction is not None:
            plug.transaction.readings.append(reading)

    def _meter_value(self, plug: Connector, context: str, key: str) -> dict[str, Any] | None:
        values = sampled_values(
            plug.reading(),
            self.configuration.measurands(key),
            context=context,
            quirks=self.spec.quirks,
            turn=plug.transaction.samples if plug.transaction is not None else 0,
            rng=self.rng,
        )
        return {"timestamp": wire_time(self.now()), "sampled_value": values} if values else None

    async def sample_aligned(self) -> None:
        """Clock-aligned meter values (ClockAlignedDataInterval), for each connector."""
        while interval := self.configuration.number("ClockAlignedDataInterval"):
            now = self.now()
            second = now.hour * 3600 + now.minute * 60 + now.second
            await self.clock.sleep(interval - second % interval)
            for plug in self.connectors.values():
                try:
                    await self._read(plug, "Sample.Clock", "MeterValuesAlignedData")
                except (CallFailed, NoAnswer) as error:
                    self.emit("error", plug.connector_id, f"MeterValues: {error}")
