"""Reservation, local authorization list and smart charging (OCPP 1.6 5.5, 5.7, 5.10, 5.13, 5.15, 5.16)."""

from typing import Any

from ocpp.v16 import call_result

from ohmstead_simulator.commands.routing import Commands, answers
from ohmstead_simulator.connector import Reservation
from ohmstead_simulator.profiles import moment
from ohmstead_simulator.state import wire_time


class ChargingCommands(Commands):
    """Answers what decides who may charge, and how fast."""

    @answers("ReserveNow")
    def on_reserve_now(self, **request: Any) -> Any:
        """Connector 0 is not supported; the same reservationId replaces its reservation (5.13)."""
        plug = self.station.connectors.get(request["connector_id"])
        if plug is None:
            return call_result.ReserveNow(status="Rejected")
        held = plug.reservation
        same = held is not None and held.reservation_id == request["reservation_id"]
        if plug.status in ("Faulted", "Unavailable"):
            return call_result.ReserveNow(status=plug.status)
        if plug.transaction is not None or (plug.status != "Available" and not same):
            return call_result.ReserveNow(status="Occupied")
        expires_at = moment(request["expiry_date"])
        if expires_at <= self.station.now():
            return call_result.ReserveNow(status="Rejected")
        self.station.drop_reservation(request["reservation_id"])
        reservation = Reservation(
            request["reservation_id"], request["id_tag"], request.get("parent_id_tag"), expires_at
        )
        plug.reservation = reservation
        self.then(lambda: self.station.hold_reservation(plug, reservation))
        return call_result.ReserveNow(status="Accepted")

    @answers("CancelReservation")
    def on_cancel_reservation(self, **request: Any) -> Any:
        """Accepted when there is such a reservation (5.1)."""
        plug = self.station.drop_reservation(request["reservation_id"])
        if plug is None:
            return call_result.CancelReservation(status="Rejected")
        self.then(lambda: self.station.refresh(plug))
        return call_result.CancelReservation(status="Accepted")

    @answers("SendLocalList")
    def on_send_local_list(self, **request: Any) -> Any:
        """Full replaces, Differential needs a newer version; an entry without idTagInfo is removed (5.15)."""
        station = self.station
        entries = request.get("local_authorization_list") or []
        if not station.configuration.flag("LocalAuthListEnabled"):
            return call_result.SendLocalList(status="NotSupported")
        version = request["list_version"]
        if version <= 0 or len(entries) > station.configuration.number("SendLocalListMaxLength"):
            return call_result.SendLocalList(status="Failed")
        full = request["update_type"] == "Full"
        if not full and version <= station.local_list_version:
            return call_result.SendLocalList(status="VersionMismatch")
        updated = {} if full else dict(station.local_list)
        for entry in entries:
            if entry.get("id_tag_info") is not None:
                updated[entry["id_tag"]] = entry["id_tag_info"]
            elif full:
                return call_result.SendLocalList(status="Failed")
            else:
                updated.pop(entry["id_tag"], None)
        if len(updated) > station.configuration.number("LocalAuthListMaxLength"):
            return call_result.SendLocalList(status="Failed")
        station.local_list, station.local_list_version = updated, version
        return call_result.SendLocalList(status="Accepted")

    @answers("GetLocalListVersion")
    def on_get_local_list_version(self, **_request: Any) -> Any:
        """-1 when local lists are switched off, 0 when the list is empty (5.10)."""
        if not self.station.configuration.flag("LocalAuthListEnabled"):
            return call_result.GetLocalListVersion(list_version=-1)
        return call_result.GetLocalListVersion(list_version=self.station.local_list_version)

    @answers("SetChargingProfile")
    def on_set_charging_profile(self, **request: Any) -> Any:
        """The limit holds at once; the energy up to now is counted under the old one (5.16)."""
        number = request["connector_id"]
        plug = self.station.connectors.get(number)
        if number != 0 and plug is None:
            return call_result.SetChargingProfile(status="Rejected")
        self.station.count_energy()
        charge = None if plug is None else self.station.charge_of(plug)
        if not self.station.profiles.install(number, request["cs_charging_profiles"], charge):
            return call_result.SetChargingProfile(status="Rejected")
        self.then(self.station.follow_limits)
        return call_result.SetChargingProfile(status="Accepted")

    @answers("ClearChargingProfile")
    def on_clear_charging_profile(self, **request: Any) -> Any:
        """Unknown when nothing fitted the criteria (5.5)."""
        self.station.count_energy()
        gone = self.station.profiles.clear_matching(
            request.get("id"),
            request.get("connector_id"),
            request.get("charging_profile_purpose"),
            request.get("stack_level"),
        )
        self.then(self.station.follow_limits)
        return call_result.ClearChargingProfile(status="Accepted" if gone else "Unknown")

    @answers("GetCompositeSchedule")
    def on_get_composite_schedule(self, **request: Any) -> Any:
        """The limits that come, per connector or (0) for the whole charge point (5.7)."""
        station, number = self.station, request["connector_id"]
        plug = station.connectors.get(number)
        if number != 0 and plug is None:
            return call_result.GetCompositeSchedule(status="Rejected")
        charge = None if plug is None else station.charge_of(plug)
        phases = next(iter(station.connectors.values())).phases
        unit = request.get("charging_rate_unit") or "W"
        full_w = station.spec.max_kw * 1000 * (1 if plug is not None else len(station.connectors))
        start = station.now()
        periods = station.profiles.composite(
            number,
            start,
            request["duration"],
            charge=charge,
            phases=phases,
            full_w=full_w,
            unit=unit,
        )
        return call_result.GetCompositeSchedule(
            status="Accepted",
            connector_id=number,
            schedule_start=wire_time(start),
            charging_schedule={
                "duration": request["duration"],
                "start_schedule": wire_time(start),
                "charging_rate_unit": unit,
                "charging_schedule_period": periods,
            },
        )
