"""What a BootNotification tells of a charger, and what an operator knew of it before."""

from typing import Any

import pytest
from tests.chargers import RawCharger, charger
from tests.gateway.admin import AdminApi
from tests.running import RunningServer

from ohmstead.stations.models import Charger

TOLD = {
    "chargePointVendor": "Volta",
    "chargePointModel": "X1",
    "firmwareVersion": "1.2.3",
    "iccid": "8943000000000000000",
    "imsi": "262010000000000",
    "meterType": "DSZ15",
    "meterSerialNumber": "M-77",
}
SHOWN = {
    "vendor": "Volta",
    "model": "X1",
    "firmware_version": "1.2.3",
    "iccid": "8943000000000000000",
    "imsi": "262010000000000",
    "meter_type": "DSZ15",
    "meter_serial_number": "M-77",
}


@pytest.mark.parametrize(
    ("said", "serial"),
    [
        ({"chargePointSerialNumber": "P-0001"}, "P-0001"),
        ({"chargeBoxSerialNumber": "B-0001"}, "B-0001"),
        ({"chargePointSerialNumber": "P-0001", "chargeBoxSerialNumber": "B-0001"}, "P-0001"),
        ({"chargePointSerialNumber": "", "chargeBoxSerialNumber": "B-0001"}, "B-0001"),
        ({}, None),
    ],
)
async def test_all_that_a_charger_says_of_itself_is_shown(
    *, raw: RawCharger, row: Charger, api: AdminApi, said: dict[str, Any], serial: str | None
) -> None:
    assert (await raw.boot(**TOLD, **said))["status"] == "Accepted"
    shown = await api.charger(row.id)
    assert {**SHOWN, "serial_number": serial}.items() <= shown.items()
    assert shown["last_boot_at"] is not None


async def test_it_overwrites_what_an_operator_knew_but_for_a_serial_number_that_it_does_not_name(
    server: RunningServer, row: Charger, api: AdminApi
) -> None:
    known = {"vendor": "Guessed", "model": "Guessed", "serial_number": "ON-THE-BOX"}
    changed = await api.client.put(f"/api/admin/chargers/{row.id}", json=known)
    assert known.items() <= changed.json().items()
    async with charger(server.ws, row.id) as raw:
        await raw.boot(**TOLD)
        shown = await api.charger(row.id)
        assert {**SHOWN, "serial_number": "ON-THE-BOX"}.items() <= shown.items()
        await raw.boot(**TOLD, chargePointSerialNumber="ITS-OWN")
        assert (await api.charger(row.id))["serial_number"] == "ITS-OWN"


async def test_a_second_boot_takes_back_what_it_does_not_say(
    raw: RawCharger, row: Charger, api: AdminApi
) -> None:
    await raw.boot(**TOLD, chargePointSerialNumber="P-0001")
    await raw.boot()
    shown = await api.charger(row.id)
    assert (shown["vendor"], shown["firmware_version"], shown["iccid"]) == ("Test", None, None)
    assert shown["serial_number"] == "P-0001"
