import pytest

from ohmstead_simulator.configuration import Configuration


def test_a_known_key_is_changed() -> None:
    keys = Configuration(2)
    assert keys.change("HeartbeatInterval", "45") == "Accepted"
    assert keys.number("HeartbeatInterval") == 45


@pytest.mark.parametrize(
    ("key", "value", "outcome"),
    [
        ("NumberOfConnectors", "3", "Rejected"),
        ("HeartbeatInterval", "-1", "Rejected"),
        ("HeartbeatInterval", "soon", "Rejected"),
        ("LocalPreAuthorize", "yes", "Rejected"),
        ("MeterValuesSampledData", "Voltage,Bogus", "Rejected"),
        ("MeterValuesSampledData", "Voltage, SoC", "Accepted"),
        ("AuthorizationKey", "short", "Rejected"),
        ("NoSuchKey", "1", "NotSupported"),
    ],
)
def test_a_change_is_answered_as_the_key_demands(key: str, value: str, outcome: str) -> None:
    assert Configuration(1).change(key, value) == outcome


def test_a_key_that_needs_a_reboot_keeps_its_value_until_then() -> None:
    keys = Configuration(1)
    assert keys.change("WebSocketPingInterval", "7") == "RebootRequired"
    assert keys.number("WebSocketPingInterval") == 30
    keys.rebooted()
    assert keys.number("WebSocketPingInterval") == 7


def test_the_listing_tells_read_only_keys_and_hides_the_password() -> None:
    known, unknown = Configuration(2).listing(None)
    by_key = {entry["key"]: entry for entry in known}
    assert by_key["NumberOfConnectors"] == {"key": "NumberOfConnectors", "readonly": True, "value": "2"}
    assert "AuthorizationKey" not in by_key
    assert unknown == []


def test_asked_for_keys_are_known_or_unknown() -> None:
    known, unknown = Configuration(1).listing(["HeartbeatInterval", "AuthorizationKey", "Bogus"])
    assert [entry["key"] for entry in known] == ["HeartbeatInterval"]
    assert unknown == ["AuthorizationKey", "Bogus"]


def test_factory_settings_may_add_and_set_keys_but_not_wrongly() -> None:
    keys = Configuration(1, {"LocalAuthListMaxLength": "2", "VendorKey": "x"})
    assert keys.number("LocalAuthListMaxLength") == 2
    assert keys["VendorKey"] == "x"
    with pytest.raises(ValueError, match="HeartbeatInterval"):
        Configuration(1, {"HeartbeatInterval": "x"})
