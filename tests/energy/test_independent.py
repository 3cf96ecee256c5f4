"""Our composite schedule beside that of the simulated charge point, which somebody else's rules made."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from tests.energy.test_composite import NOON, installed

from ohmstead.energy.composite import Kind, Profile, Purpose, composite_schedule
from ohmstead_simulator.profiles import Charge, ChargingProfiles

FULL_W = 22_000.0
HOURS = 4


def snake(profile: Profile, number: int) -> dict[str, Any]:
    """A profile as the package `ocpp` hands it to the simulated charge point."""
    schedule: dict[str, Any] = {
        "charging_rate_unit": profile.unit,
        "charging_schedule_period": [
            {"start_period": one.start, "limit": one.limit} for one in profile.periods
        ],
    }
    if profile.start is not None:
        schedule["start_schedule"] = profile.start.isoformat()
    if profile.duration is not None:
        schedule["duration"] = profile.duration
    found: dict[str, Any] = {
        "charging_profile_id": number,
        "stack_level": profile.stack_level,
        "charging_profile_purpose": str(profile.purpose),
        "charging_profile_kind": str(profile.kind),
        "charging_schedule": schedule,
    }
    for name, value in (
        ("recurrency_kind", profile.recurrency),
        ("valid_from", profile.valid_from and profile.valid_from.isoformat()),
        ("valid_to", profile.valid_to and profile.valid_to.isoformat()),
    ):
        if value is not None:
            found[name] = value
    return found


@settings(max_examples=150, deadline=None)
@given(installed())
def test_the_simulated_charge_point_comes_to_the_same(profiles: list[Profile]) -> None:
    charge = Charge(7, NOON - timedelta(minutes=30))
    point = ChargingProfiles()
    told: list[Profile] = []
    for number, profile in enumerate(profiles, 1):
        if profile.purpose is Purpose.CHARGE_POINT_MAX and profile.kind is Kind.RELATIVE:
            continue  # relative to which session? we refuse to keep such a profile
        if point.install(profile.connector_id, snake(profile, number), charge):
            # It replaces what has the same place, as a real one does.
            told = [
                one
                for one in told
                if (one.connector_id, one.purpose, one.stack_level)
                != (profile.connector_id, profile.purpose, profile.stack_level)
            ]
            told.append(profile)
    theirs = point.composite(1, NOON, HOURS * 3600, charge=charge, phases=3, full_w=FULL_W, unit="W")
    ours = composite_schedule(
        told, connector_id=1, start=NOON, duration=HOURS * 3600, unit="W", charging_since=charge.started_at
    )
    capped = [(one.start, FULL_W if one.limit is None else min(one.limit, FULL_W)) for one in ours]
    merged = [one for number, one in enumerate(capped) if number == 0 or capped[number - 1][1] != one[1]]
    assert [(one["start_period"], one["limit"]) for one in theirs] == merged
