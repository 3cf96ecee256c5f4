"""Charging at a charge point: cars, tags, transactions, meter values (OCPP 1.6 chapters 4 and 5)."""

from datetime import datetime
from typing import Any

from ocpp.v16 import call

from ohmstead_simulator.car import Car
from ohmstead_simulator.connector import Connector, Reservation
from ohmstead_simulator.errors import NotPossible, Offline
from ohmstead_simulator.metering import MeteringStation
from ohmstead_simulator.state import wire_time
from ohmstead_simulator.transactions import Entry, Transaction


class ChargingStation(MeteringStation):
    """Adds what happens at the connectors. It works the same online and offline."""

    # --- the car

    async def plug(self, connector: int = 1, car: Car | None = None) -> None:
        """A cable goes in. Starts the transaction when a remote start was waiting for this car."""
        plug = self.connector(connector)
        if plug.car is not None:
            raise NotPossible(f"connector {connector} has a car already")
        self.update(plug)
        plug.car = car or Car()
        if plug.transaction is not None:
            await self.set_status(plug, "Charging")
        elif plug.awaited_tag is not None:
            await self.start(connector, plug.awaited_tag)
        else:
            await self._rest(plug)

    async def unplug(self, connector: int = 1) -> None:
        """The cable comes out at the car's side.

        Ends the transaction, unless StopTransactionOnEVSideDisconnect is false.
        """
        plug = self.connector(connector)
        if plug.car is None:
            raise NotPossible(f"connector {connector} has no car")
        self.update(plug)
        plug.car = None
        if plug.transaction is None:
            await self._rest(plug)
        elif self.configuration.flag("StopTransactionOnEVSideDisconnect"):
            await self.stop("EVDisconnected", connector)
        else:
            await self.set_status(plug, "SuspendedEV")

    # --- the tag

    async def authorize(self, tag: str, connector: int | None = None) -> str:
        """A tag is presented; answers idTagInfo.status.

        Online the central system is asked, unless LocalPreAuthorize lets the local list or the cache
        decide; offline these decide (OCPP 1.6 3.5). An accepted tag waits at `connector` for its car
        for ConnectionTimeOut seconds.
        """
        status = await self._ask(tag)
        self.emit("authorized" if status == "Accepted" else "refused_tag", connector or 0, f"{tag} {status}")
        if status == "Accepted" and connector is not None:
            plug = self.connector(connector)
            if plug.transaction is None:
                plug.tag = tag
                if plug.status in ("Available", "Reserved") and self.may_use(plug, tag):
                    await self.set_status(plug, plug.rest_status())
                self.spawn(self.await_car(plug, tag))
        return status

    async def _ask(self, tag: str) -> str:
        known = self.known_tag(tag)
        ask = not (known is not None and known == "Accepted" and self.configuration.flag("LocalPreAuthorize"))
        if self.usable and ask:
            try:
                answer = await self.call(call.Authorize(id_tag=tag))
            except Offline:
                pass  # the connection ended meanwhile: decided below as offline
            else:
                self.remember_tag(tag, answer.id_tag_info)
                return str(answer.id_tag_info["status"])
        if known is not None and (self.usable or self.configuration.flag("LocalAuthorizeOffline")):
            return known
        return "Accepted" if self.configuration.flag("AllowOfflineTxForUnknownId") else "Invalid"

    def known_tag(self, tag: str) -> str | None:
        """The status of a tag in the local list, else in the cache; expired entries say Expired."""
        found = self.listed(tag)
        if found is None and self.configuration.flag("AuthorizationCacheEnabled"):
            found = self.auth_cache.get(tag)
        if found is None:
            return None
        expiry = found.get("expiry_date")
        if expiry is not None and datetime.fromisoformat(expiry) <= self.now():
            return "Expired"
        return str(found["status"])

    def listed(self, tag: str) -> dict[str, Any] | None:
        """What the local list says of a tag, in whatever case (OCPP 1.6 7.27 CiString20); None: nothing."""
        if not self.configuration.flag("LocalAuthListEnabled"):
            return None
        return next((info for one, info in self.local_list.items() if one.lower() == tag.lower()), None)

    def remember_tag(self, tag: str, info: dict[str, Any]) -> None:
        """The authorization cache follows every idTagInfo that the central system sends."""
        if self.configuration.flag("AuthorizationCacheEnabled"):
            self.auth_cache[tag] = info

    async def await_car(self, plug: Connector, tag: str) -> None:
        """Give up on a tag or a remote start whose car does not come (ConnectionTimeOut)."""
        await self.clock.sleep(self.configuration.number("ConnectionTimeOut"))
        if plug.transaction is None and tag in (plug.tag, plug.awaited_tag):
            plug.tag = plug.awaited_tag = None
            await self._rest(plug)

    def may_use(self, plug: Connector, tag: str) -> bool:
        """Whether a reservation (if any) is for this tag, or for one of the same parent."""
        held = plug.reservation
        if held is None or held.id_tag.lower() == tag.lower():
            return True
        parent = (self.listed(tag) or self.auth_cache.get(tag) or {}).get("parent_id_tag")
        return held.parent_id_tag is not None and parent == held.parent_id_tag

    # --- transactions

    async def start(self, connector: int = 1, tag: str | None = None) -> int | None:
        """Begin a transaction; answers its id, or None when offline (the start waits in the queue)."""
        plug = self.connector(connector)
        tag = tag or plug.tag
        if tag is None:
            raise NotPossible(f"no tag was accepted at connector {connector}")
        self._check_start(plug, tag)
        now = self.clock.now()
        plug.advance(now, self.limit(plug))
        held = plug.reservation
        transaction = Transaction(
            connector_id=connector,
            id_tag=tag,
            started_at=self.now(),
            meter_start=round(plug.register_wh),
            began=now,
            reservation_id=held.reservation_id if held is not None else None,
        )
        plug.transaction, plug.reservation = transaction, None
        plug.tag = plug.awaited_tag = None
        self.keep_reading(plug, "Transaction.Begin")
        if "status_before_start" in self.spec.quirks:
            await self.set_status(plug, "Charging")
        entry = self.queue.put(
            "StartTransaction",
            transaction,
            {
                "connector_id": connector,
                "id_tag": tag,
                "meter_start": transaction.meter_start,
                "timestamp": wire_time(transaction.started_at),
                "reservation_id": transaction.reservation_id,
            },
        )
        await self.delivered(entry)
        if plug.transaction is transaction:
            plug.advance(self.clock.now(), self.limit(plug))
            await self.set_status(plug, "Charging")
            self.emit("started", connector, f"{tag} {transaction.transaction_id or 'offline'}")
            profile = self.awaited_profiles.pop(connector, None)
            if profile is not None:
                self.profiles.install(connector, profile, self.charge_of(plug))
                self.update(plug)
            self.begin_sampling(plug)
            await self.follow(plug)
        return transaction.transaction_id

    def _check_start(self, plug: Connector, tag: str) -> None:
        number = plug.connector_id
        if plug.transaction is not None:
            raise NotPossible(f"connector {number} has a transaction already")
        if plug.car is None:
            raise NotPossible(f"no car at connector {number}")
        if plug.status in ("Faulted", "Unavailable"):
            raise NotPossible(f"connector {number} is {plug.status}")
        if not self.may_use(plug, tag):
            raise NotPossible(f"connector {number} is reserved for another tag")

    async def stop(self, reason: str = "Local", connector: int | None = None, tag: str | None = None) -> None:
        """End the transaction at `connector` (or the only one that runs)."""
        plug = self._running(connector)
        entry = self.end_transaction(plug, reason, tag)
        await self.delivered(entry)
        await self._after_stop(plug)

    def end_transaction(
        self, plug: Connector, reason: str, tag: str | None = None, at: datetime | None = None
    ) -> Entry:
        """The stop itself, without waiting for anything: the energy ends and the message is queued.

        `at` is the time of the stop by the charge point's clock, when it was earlier than now.
        """
        transaction = plug.transaction
        if transaction is None:
            raise NotPossible(f"no transaction at connector {plug.connector_id}")
        plug.advance(self.clock.now(), self.limit(plug))
        self.keep_reading(plug, "Transaction.End")
        transaction.stop_reason = reason
        plug.transaction = None
        plug.power_w = 0.0
        self.profiles.end_of_transaction(plug.connector_id)
        self.emit("stopped", plug.connector_id, f"{transaction.transaction_id or 'offline'} {reason}")
        return self.queue.put(
            "StopTransaction",
            transaction,
            {
                "meter_stop": round(plug.register_wh),
                "timestamp": wire_time(at or self.now()),
                "reason": reason,
                "id_tag": tag,
                "transaction_data": transaction.readings or None,
            },
        )

    def _running(self, connector: int | None) -> Connector:
        if connector is not None:
            return self.connector(connector)
        running = [plug for plug in self.connectors.values() if plug.transaction is not None]
        if len(running) != 1:
            raise NotPossible(f"{len(running)} transactions run: say which connector")
        return running[0]

    async def _after_stop(self, plug: Connector) -> None:
        if plug.transaction is not None:  # the next one began meanwhile
            return
        if plug.scheduled is not None:
            plug.operative, plug.scheduled = plug.scheduled, None
        resting = plug.rest_status()
        await self.set_status(plug, "Finishing" if resting == "Preparing" else resting, plug.error_code)

    async def _rest(self, plug: Connector) -> None:
        await self.set_status(plug, plug.rest_status(), plug.error_code)

    async def expire_reservation(self, plug: Connector, reservation: Reservation) -> None:
        """Free the connector when the reservation's time is over."""
        await self.clock.sleep((reservation.expires_at - self.now()).total_seconds())
        if plug.reservation is reservation:
            plug.reservation = None
            await self.refresh(plug)

    async def refresh(self, plug: Connector) -> None:
        """Report the resting state again after availability, reservation or fault changed."""
        if plug.transaction is None:
            await self._rest(plug)

    # --- delivery

    async def send_entry(self, entry: Entry) -> Any:
        """Send one queued message. The id that the start was given goes into what follows it."""
        transaction = entry.transaction
        if entry.action == "StartTransaction":
            answer = await self.call(call.StartTransaction(**entry.payload))
            transaction.transaction_id = answer.transaction_id
            transaction.status = str(answer.id_tag_info["status"])
            self.remember_tag(transaction.id_tag, answer.id_tag_info)
            if transaction.status != "Accepted" and not transaction.stopped:
                self.spawn(self._deauthorized(transaction))
            return answer
        if entry.action == "MeterValues":
            payload = call.MeterValues(**entry.payload, transaction_id=transaction.transaction_id)
            if "pipelined" in self.spec.quirks and self.link is not None:
                return await self.link.pipeline([payload, call.Heartbeat()])
            return await self.call(payload)
        # A start that was given up has no id; -1 tells the central system so, as real firmware does.
        number = -1 if transaction.transaction_id is None else transaction.transaction_id
        return await self.call(call.StopTransaction(**entry.payload, transaction_id=number))

    async def _deauthorized(self, transaction: Transaction) -> None:
        """The central system did not accept the tag of a start (OCPP 1.6 4.8)."""
        plug = self.connector(transaction.connector_id)
        self.emit("refused_tag", plug.connector_id, f"{transaction.id_tag} {transaction.status}")
        if plug.transaction is not transaction:
            return
        if self.configuration.flag("StopTransactionOnInvalidId"):
            await self.stop("DeAuthorized", plug.connector_id)
        else:
            await self.follow(plug)
