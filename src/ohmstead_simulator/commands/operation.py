"""Core and remote trigger profile: start, stop, reset, unlock, availability, configuration (OCPP 1.6 5)."""

import functools
from typing import Any

from ocpp.v16 import call_result

from ohmstead_simulator.commands.routing import Commands, answers


class OperationCommands(Commands):
    """Answers the commands of an operator."""

    @answers("RemoteStartTransaction")
    def on_remote_start_transaction(self, **request: Any) -> Any:
        """Accepted when a connector is free for that tag; it begins when the car is there (5.11)."""
        tag, profile = request["id_tag"], request.get("charging_profile")
        plug = self.station.free_connector(request.get("connector_id"), tag)
        if plug is None or (profile is not None and profile["charging_profile_purpose"] != "TxProfile"):
            return call_result.RemoteStartTransaction(status="Rejected")
        self.then(lambda: self.station.remote_start(plug, tag, profile))
        return call_result.RemoteStartTransaction(status="Accepted")

    @answers("RemoteStopTransaction")
    def on_remote_stop_transaction(self, **request: Any) -> Any:
        """Accepted when that transaction runs here (5.12)."""
        number = request["transaction_id"]
        for plug in self.station.connectors.values():
            if plug.transaction is not None and plug.transaction.transaction_id == number:
                self.then(functools.partial(self.station.stop, "Remote", plug.connector_id))
                return call_result.RemoteStopTransaction(status="Accepted")
        return call_result.RemoteStopTransaction(status="Rejected")

    @answers("Reset")
    def on_reset(self, **request: Any) -> Any:
        """Soft ends the transactions in order, Hard pulls the plug; both boot again (5.14)."""
        hard = request["type"] == "Hard"
        self.then(lambda: self.station.reboot("HardReset" if hard else "SoftReset", hard=hard))
        return call_result.Reset(status="Accepted")

    @answers("UnlockConnector")
    def on_unlock_connector(self, **request: Any) -> Any:
        """A running transaction ends first; a fixed cable (DC) cannot be unlocked (5.18)."""
        plug = self.station.connectors.get(request["connector_id"])
        if plug is None or plug.current == "DC":
            return call_result.UnlockConnector(status="NotSupported")
        if plug.transaction is not None:
            self.then(lambda: self.station.stop("UnlockCommand", plug.connector_id))
        return call_result.UnlockConnector(status="Unlocked")

    @answers("ChangeAvailability")
    def on_change_availability(self, **request: Any) -> Any:
        """Scheduled while a transaction runs (5.2)."""
        number, operative = request["connector_id"], request["type"] == "Operative"
        if number != 0 and number not in self.station.connectors:
            return call_result.ChangeAvailability(status="Rejected")
        scheduled = self.station.schedule_availability(number, operative)
        self.then(lambda: self.station.apply_availability(number))
        return call_result.ChangeAvailability(status="Scheduled" if scheduled else "Accepted")

    @answers("GetConfiguration")
    def on_get_configuration(self, **request: Any) -> Any:
        """The keys asked for, or all (5.8)."""
        known, unknown = self.station.configuration.listing(request.get("key"))
        return call_result.GetConfiguration(configuration_key=known, unknown_key=unknown or None)

    @answers("ChangeConfiguration")
    def on_change_configuration(self, **request: Any) -> Any:
        """A changed interval holds at once; a new AuthorizationKey means a reconnect with it (5.3)."""
        key = request["key"]
        status = self.station.configuration.change(key, request["value"])
        if status == "Accepted":
            self.then(lambda: self.station.configuration_changed(key))
        return call_result.ChangeConfiguration(status=status)

    @answers("ClearCache")
    def on_clear_cache(self, **_request: Any) -> Any:
        """Rejected when the cache is switched off (5.4)."""
        if not self.station.configuration.flag("AuthorizationCacheEnabled"):
            return call_result.ClearCache(status="Rejected")
        self.station.auth_cache.clear()
        return call_result.ClearCache(status="Accepted")

    @answers("DataTransfer")
    def on_data_transfer(self, **request: Any) -> Any:
        """Knows its own vendor and one message, `echo`, which hands the data back (5.6)."""
        if request["vendor_id"] != self.station.spec.vendor:
            return call_result.DataTransfer(status="UnknownVendorId")
        if request.get("message_id") != "echo":
            return call_result.DataTransfer(status="UnknownMessageId")
        return call_result.DataTransfer(status="Accepted", data=request.get("data"))

    @answers("TriggerMessage")
    def on_trigger_message(self, **request: Any) -> Any:
        """The message follows after the answer (5.17)."""
        status = self._trigger(request["requested_message"], request.get("connector_id"))
        return call_result.TriggerMessage(status=status)

    @answers("ExtendedTriggerMessage")
    def on_extended_trigger_message(self, **request: Any) -> Any:
        """As TriggerMessage, with the messages of the security whitepaper."""
        status = self._trigger(request["requested_message"], request.get("connector_id"))
        return call_result.ExtendedTriggerMessage(status=status)

    def _trigger(self, message: str, connector_id: int | None) -> str:
        known = self.station.connectors
        if (
            connector_id is not None
            and connector_id not in known
            and (connector_id != 0 or message != "StatusNotification")
        ):
            return "Rejected"
        self.then(lambda: self.station.triggered(message, connector_id))
        return "Accepted"
