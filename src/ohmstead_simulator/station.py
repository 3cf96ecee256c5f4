"""`SimulatedStation`: a whole charge point, as a library for tests and as the unit of the fleet."""

import asyncio
from typing import Any

from ocpp.v16 import call
from websockets.asyncio.client import ClientConnection

from ohmstead_simulator.connector import Connector, Reservation
from ohmstead_simulator.endpoint import StationEndpoint
from ohmstead_simulator.link import Endpoint
from ohmstead_simulator.maintenance import MaintainedStation
from ohmstead_simulator.state import status_text


class SimulatedStation(MaintainedStation):
    """One charge point: `connect()`, `boot()`, then cars and tags; it answers every command by itself.

    With `keep_connected` it reconnects by itself, with exponential back-off and jitter, whenever the
    connection ends; without, a lost connection stays lost until `connect()` or `online()`.
    """

    def make_endpoint(self, connection: ClientConnection) -> Endpoint:
        """The endpoint that answers every command of OCPP 1.6 and its security whitepaper."""
        return StationEndpoint(self, connection)

    # --- small things that a test or scenario does by hand

    async def status(
        self, connector: int, status: str, error_code: str = "NoError", info: str | None = None
    ) -> None:
        """Report any state, sensible or not; connector 0 is the charge point itself."""
        if connector == 0:
            self.error_code = error_code
            payload = self.status_payload(None, info)
            payload.status = status
        else:
            plug = self.connector(connector)
            self.update(plug)
            plug.status, plug.error_code = status, error_code
            plug.reported = (status, error_code)
            payload = self.status_payload(plug, info)
        self.emit("status", connector, status_text(status, error_code))
        await self.call(payload)

    async def fault(self, connector: int, error_code: str) -> None:
        """A fault: a running transaction ends (Other), the connector is Faulted until `clear_fault`."""
        plug = self.connector(connector)
        self.update(plug)
        running = plug.transaction is not None
        entry = self.end_transaction(plug, "Other") if running else None
        await self.set_status(plug, "Faulted", error_code)
        if entry is not None:
            await self.delivered(entry)

    async def clear_fault(self, connector: int) -> None:
        """The fault is gone; the connector shows what it is without one."""
        plug = self.connector(connector)
        plug.error_code = "NoError"
        await self.set_status(plug, plug.rest_status())

    async def data_transfer(
        self, vendor_id: str, message_id: str | None = None, data: str | None = None
    ) -> str:
        """DataTransfer of the charge point; answers the status."""
        answer = await self.call(call.DataTransfer(vendor_id=vendor_id, message_id=message_id, data=data))
        return str(answer.status)

    # --- what follows from commands (the answers themselves are in `commands`)

    def free_connector(self, connector_id: int | None, tag: str) -> Connector | None:
        """The connector where a remote start with that tag can begin: one with a car before an empty one."""
        candidates = [
            plug
            for plug in self.connectors.values()
            if (connector_id is None or plug.connector_id == connector_id)
            and plug.transaction is None
            and plug.awaited_tag is None
            and plug.status not in ("Faulted", "Unavailable")
            and self.may_use(plug, tag)
        ]
        return min(candidates, key=lambda plug: plug.car is None, default=None)

    async def remote_start(self, plug: Connector, tag: str, profile: dict[str, Any] | None) -> None:
        """Begin at once when the car is there, else wait for it for ConnectionTimeOut seconds."""
        if self.configuration.flag("AuthorizeRemoteTxRequests") and await self.authorize(tag) != "Accepted":
            return
        if profile is not None:
            self.awaited_profiles[plug.connector_id] = profile
        if plug.car is not None:
            await self.start(plug.connector_id, tag)
            return
        plug.awaited_tag = tag
        self.emit("car_wanted", plug.connector_id, tag)
        await self.refresh(plug)
        await self.await_car(plug, tag)

    def schedule_availability(self, connector_id: int, operative: bool) -> bool:
        """Note the new availability; True when a running transaction delays it."""
        if connector_id == 0:
            self.operative = operative
        plugs = self.connectors.values() if connector_id == 0 else [self.connectors[connector_id]]
        for plug in plugs:
            if plug.transaction is not None:
                plug.scheduled = operative
            else:
                plug.operative, plug.scheduled = operative, None
        return any(plug.scheduled is not None for plug in plugs)

    async def apply_availability(self, connector_id: int) -> None:
        """Report what ChangeAvailability changed."""
        if connector_id == 0 and self.usable:
            await self.report(None)
        for plug in self.connectors.values():
            if connector_id in (0, plug.connector_id):
                await self.refresh(plug)

    async def configuration_changed(self, key: str) -> None:
        """Let a changed key take effect."""
        if key in ("HeartbeatInterval", "ClockAlignedDataInterval"):
            self.restart_session_tasks()
        elif key == "MeterValueSampleInterval":
            for plug in self.connectors.values():
                if plug.transaction is not None:
                    self.begin_sampling(plug)
        elif key == "AuthorizationKey":
            self.password = password_of(self.configuration[key])
            await self.offline(abrupt=False)
            await self.online()

    def drop_reservation(self, reservation_id: int) -> Connector | None:
        """Forget a reservation; answers the connector that it held."""
        for plug in self.connectors.values():
            if plug.reservation is not None and plug.reservation.reservation_id == reservation_id:
                plug.reservation = None
                return plug
        return None

    async def hold_reservation(self, plug: Connector, reservation: Reservation) -> None:
        """Reserved until used, cancelled or expired."""
        for other in self.connectors.values():
            await self.refresh(other)
        await self.expire_reservation(plug, reservation)

    async def triggered(self, message: str, connector_id: int | None) -> None:
        """Send the message that TriggerMessage or ExtendedTriggerMessage asked for."""
        plugs = [plug for plug in self.connectors.values() if connector_id in (None, plug.connector_id)]
        match message:
            case "BootNotification" if self.registered:
                await self.call(self.boot_payload())
            case "BootNotification":
                await self.boot()
            case "Heartbeat":
                await self.heartbeat()
            case "StatusNotification":
                if connector_id in (None, 0):
                    await self.report(None)
                for plug in plugs:
                    await self.report(plug)
            case "MeterValues":
                for plug in plugs:
                    await self.meter(plug.connector_id, "Trigger")
            case "DiagnosticsStatusNotification":
                await self.call(call.DiagnosticsStatusNotification(status=self.diagnostics_status))
            case "FirmwareStatusNotification":
                await self.call(call.FirmwareStatusNotification(status=self.firmware_status))
            case "LogStatusNotification":
                await self.call(
                    call.LogStatusNotification(status=self.log_status, request_id=self.log_request)
                )
            case "SignChargePointCertificate":
                with self.clock.hold():
                    csr = await asyncio.to_thread(
                        self.certificates.signing_request, self.configuration["CpoName"]
                    )
                await self.call(call.SignCertificate(csr=csr))


def password_of(key: str) -> str | bytes:
    """An AuthorizationKey of hexadecimal digits is bytes (security whitepaper 2.3), else text."""
    try:
        return bytes.fromhex(key)
    except ValueError:
        return key
