from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ohmstead_simulator.profiles import Charge, ChargingProfiles

NOW = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
CHARGE = Charge(7, NOW)


def profile(number: int = 1, *, watts: float = 5000, **changes: Any) -> dict[str, Any]:
    schedule = {
        "charging_rate_unit": "W",
        "charging_schedule_period": [{"start_period": 0, "limit": watts}],
        **changes.pop("schedule", {}),
    }
    return {
        "charging_profile_id": number,
        "stack_level": 0,
        "charging_profile_purpose": "TxDefaultProfile",
        "charging_profile_kind": "Relative",
        "charging_schedule": schedule,
        **changes,
    }


def limit(
    profiles: ChargingProfiles, *, connector: int = 1, after: float = 0, sharing: int = 1
) -> float | None:
    return profiles.limit_w(connector, NOW + timedelta(seconds=after), CHARGE, 3, sharing)


def test_without_profiles_there_is_no_limit() -> None:
    assert limit(ChargingProfiles()) is None


def test_a_higher_stack_level_wins() -> None:
    profiles = ChargingProfiles()
    assert profiles.install(1, profile(1, watts=5000), None)
    assert profiles.install(1, profile(2, watts=9000, stack_level=3), None)
    assert limit(profiles) == 9000


def test_a_profile_of_the_transaction_overrules_the_default_and_ends_with_it() -> None:
    profiles = ChargingProfiles()
    profiles.install(0, profile(1, watts=5000), None)
    assert profiles.install(1, profile(2, watts=3000, charging_profile_purpose="TxProfile"), CHARGE)
    assert limit(profiles) == 3000
    profiles.end_of_transaction(1)
    assert limit(profiles) == 5000


def test_a_connectors_own_default_replaces_that_of_the_whole_charger() -> None:
    profiles = ChargingProfiles()
    profiles.install(0, profile(1, watts=5000), None)
    profiles.install(2, profile(2, watts=8000), None)
    assert (limit(profiles, connector=1), limit(profiles, connector=2)) == (5000, 8000)


def test_the_chargers_maximum_is_shared() -> None:
    profiles = ChargingProfiles()
    assert profiles.install(
        0, profile(1, watts=22_000, charging_profile_purpose="ChargePointMaxProfile"), None
    )
    assert limit(profiles, sharing=2) == 11_000


@pytest.mark.parametrize(
    ("connector", "changes", "charge"),
    [
        (1, {"charging_profile_purpose": "ChargePointMaxProfile"}, None),
        (1, {"charging_profile_purpose": "TxProfile"}, None),
        (0, {"charging_profile_purpose": "TxProfile"}, CHARGE),
        (1, {"charging_profile_purpose": "TxProfile", "transaction_id": 8}, CHARGE),
        (1, {"stack_level": 99}, None),
        (1, {"schedule": {"charging_schedule_period": []}}, None),
    ],
)
def test_a_profile_that_cannot_hold_is_refused(
    connector: int, changes: dict[str, Any], charge: Charge | None
) -> None:
    profiles = ChargingProfiles()
    assert not profiles.install(connector, profile(**changes), charge)
    assert len(profiles) == 0


def test_amperes_become_watts_over_the_phases() -> None:
    profiles = ChargingProfiles()
    schedule = {
        "charging_rate_unit": "A",
        "charging_schedule_period": [{"start_period": 0, "limit": 16, "number_phases": 1}],
    }
    profiles.install(1, profile(schedule=schedule), None)
    assert limit(profiles) == 16 * 230


def test_a_daily_schedule_comes_back_each_day() -> None:
    profiles = ChargingProfiles()
    schedule = {
        "start_schedule": "2026-02-01T10:00:00Z",
        "charging_rate_unit": "W",
        "charging_schedule_period": [
            {"start_period": 0, "limit": 1000},
            {"start_period": 3600, "limit": 2000},
        ],
    }
    profiles.install(
        1, profile(charging_profile_kind="Recurring", recurrency_kind="Daily", schedule=schedule), None
    )
    assert limit(profiles) == 1000
    assert limit(profiles, after=3600) == 2000
    assert limit(profiles, after=86_400) == 1000


def test_a_profile_outside_its_validity_says_nothing() -> None:
    profiles = ChargingProfiles()
    profiles.install(1, profile(valid_to="2026-03-01T10:00:00Z"), None)
    assert limit(profiles) is None


def test_the_composite_schedule_names_the_second_of_each_change() -> None:
    profiles = ChargingProfiles()
    schedule = {
        "duration": 500,
        "charging_rate_unit": "W",
        "charging_schedule_period": [
            {"start_period": 0, "limit": 4000},
            {"start_period": 130, "limit": 7000},
        ],
    }
    profiles.install(1, profile(schedule=schedule), None)
    periods = profiles.composite(1, NOW, 900, charge=CHARGE, phases=3, full_w=22_000, unit="W")
    assert periods == [
        {"start_period": 0, "limit": 4000},
        {"start_period": 130, "limit": 7000},
        {"start_period": 500, "limit": 22_000},
    ]


def test_clearing_goes_by_id_or_by_all_criteria() -> None:
    profiles = ChargingProfiles()
    profiles.install(1, profile(1, stack_level=1), None)
    profiles.install(2, profile(2, stack_level=1), None)
    profiles.install(2, profile(3, stack_level=2), None)
    assert profiles.clear_matching(1, None, None, None) == 1
    assert profiles.clear_matching(None, 2, "TxDefaultProfile", 2) == 1
    assert profiles.clear_matching(9, None, None, None) == 0
    assert profiles.clear_matching(None, None, None, None) == 1
