"""ChargingProfiles of OCPP 1.6 7.8 as they go over the wire: what the standard asks of them, and reading."""

from datetime import datetime
from itertools import pairwise
from typing import Any

from ohmstead.core.errors import Invalid
from ohmstead.energy.composite import CYCLES, Kind, Period, Profile, Purpose
from ohmstead.ocpp.errors import OcppError
from ohmstead.ocpp.timestamps import parse_timestamp
from ohmstead.ocpp.v16.schemas import check_request

OWN_OF_A_CHARGER = ("chargingProfileId", "transactionId")
"""Members that a profile gets where it is given to a charger."""


def check_profile(profile: dict[str, Any]) -> None:
    """Refuse a profile that breaks the schema or the rules of OCPP 1.6 3.13 and 7.8, with what is wrong.

    Without the members that belong to one charger. Raises `Invalid`.
    """
    for name in OWN_OF_A_CHARGER:
        if name in profile:
            raise _refused(f"{name} is given where the profile goes to a charger: leave it out")
    try:
        wire = {"connectorId": 0, "csChargingProfiles": {"chargingProfileId": 1, **profile}}
        check_request("SetChargingProfile", wire, "central")
        read_profile(profile, 0)
    except OcppError as error:
        raise _refused(error.description) from None
    except ValueError as error:
        raise _refused(str(error)) from None
    fault = _fault(profile)
    if fault is not None:
        raise _refused(fault)


def _fault(profile: dict[str, Any]) -> str | None:
    """Return what the schema cannot say, or None."""
    schedule = profile["chargingSchedule"]
    periods = schedule["chargingSchedulePeriod"]
    kind = profile["chargingProfileKind"]
    cycle = CYCLES.get(profile.get("recurrencyKind", ""))
    if not periods:
        return "chargingSchedulePeriod needs a period"
    if periods[0]["startPeriod"] != 0:
        return "the first period must begin at startPeriod 0"
    if any(one["startPeriod"] >= other["startPeriod"] for one, other in pairwise(periods)):
        return "startPeriod must rise from period to period"
    if any(period["limit"] < 0 for period in periods) or schedule.get("minChargingRate", 0) < 0:
        return "a limit cannot be negative"
    if any(period.get("numberPhases", 3) not in {1, 2, 3} for period in periods):
        return "numberPhases is 1, 2 or 3"
    if profile["stackLevel"] < 0:
        return "stackLevel cannot be negative"
    if schedule.get("duration", 1) < 1:
        return "duration must be a second or more"
    if kind == Kind.RECURRING and (cycle is None or "startSchedule" not in schedule):
        return "a Recurring profile needs recurrencyKind and startSchedule"
    if kind != Kind.RECURRING and cycle is not None:
        return f"recurrencyKind belongs to Recurring profiles, this one is {kind}"
    if kind == Kind.RECURRING and cycle is not None and schedule.get("duration", 1) > cycle.total_seconds():
        return "the schedule of a Recurring profile cannot last longer than its cycle"
    if kind == Kind.RELATIVE and "startSchedule" in schedule:
        return "a Relative profile has no startSchedule: it begins with charging"
    if kind == Kind.RELATIVE and profile["chargingProfilePurpose"] == Purpose.CHARGE_POINT_MAX:
        return "a ChargePointMaxProfile cannot be Relative: it belongs to no session"
    valid_from, valid_to = _time(profile.get("validFrom")), _time(profile.get("validTo"))
    if valid_from is not None and valid_to is not None and valid_from >= valid_to:
        return "validTo must lie after validFrom"
    return None


def _refused(what: str) -> Invalid:
    return Invalid(
        f"This is no charging profile of OCPP 1.6: {what}.", code="ProfileInvalid", fields={"profile": what}
    )


def read_profile(profile: dict[str, Any], connector_id: int) -> Profile:
    """Read a profile that went over the wire to a connector. Raises `ValueError` for a time that is none."""
    schedule = profile["chargingSchedule"]
    return Profile(
        connector_id=connector_id,
        purpose=Purpose(profile["chargingProfilePurpose"]),
        stack_level=profile["stackLevel"],
        kind=Kind(profile["chargingProfileKind"]),
        unit=schedule["chargingRateUnit"],
        periods=tuple(
            sorted(
                Period(one["startPeriod"], float(one["limit"]), one.get("numberPhases"))
                for one in schedule["chargingSchedulePeriod"]
            )
        ),
        start=_time(schedule.get("startSchedule")),
        duration=schedule.get("duration"),
        recurrency=profile.get("recurrencyKind"),
        valid_from=_time(profile.get("validFrom")),
        valid_to=_time(profile.get("validTo")),
        transaction_id=profile.get("transactionId"),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else parse_timestamp(text)
