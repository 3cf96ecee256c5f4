"""The table of actions against the schemas and the standard."""

from importlib import resources

import pytest

from ohmstead.ocpp.v16.actions import ACTIONS, FROM_CENTRAL, FROM_CHARGER


def test_every_schema_has_its_action_and_every_action_its_schemas() -> None:
    files = resources.files("ocpp").joinpath("v16", "schemas").iterdir()
    names = {file.name.removesuffix(".json") for file in files if file.name.endswith(".json")}
    assert names == {name + suffix for name in ACTIONS for suffix in ("", "Response")}


def test_there_are_28_actions_of_the_standard_and_11_of_the_security_whitepaper() -> None:
    security = [action for action in ACTIONS.values() if action.profile == "Security"]
    assert (len(ACTIONS), len(security)) == (39, 11)


def test_chargers_send_these_and_no_others() -> None:
    assert {
        "Authorize",
        "BootNotification",
        "DataTransfer",
        "DiagnosticsStatusNotification",
        "FirmwareStatusNotification",
        "Heartbeat",
        "LogStatusNotification",
        "MeterValues",
        "SecurityEventNotification",
        "SignCertificate",
        "SignedFirmwareStatusNotification",
        "StartTransaction",
        "StatusNotification",
        "StopTransaction",
    } == FROM_CHARGER


def test_only_data_transfer_goes_both_ways() -> None:
    assert {"DataTransfer"} == FROM_CHARGER & FROM_CENTRAL
    assert set(ACTIONS) == FROM_CHARGER | FROM_CENTRAL


@pytest.mark.parametrize(
    ("profile", "count"),
    [
        ("Core", 16),
        ("FirmwareManagement", 4),
        ("LocalAuthListManagement", 2),
        ("Reservation", 2),
        ("SmartCharging", 3),
        ("RemoteTrigger", 1),
    ],
)
def test_the_feature_profiles_are_those_of_chapter_3(profile: str, count: int) -> None:
    assert sum(action.profile == profile for action in ACTIONS.values()) == count
