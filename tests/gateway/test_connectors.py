"""Connectors that a charger makes up."""

import pytest
from tests.chargers import RawCharger
from tests.gateway.admin import AdminApi

from ohmstead.core.facts import FactKind
from ohmstead.gateway.v16 import availability
from ohmstead.stations.models import Charger

BREAKS_A_RULE = """
INSERT INTO stations_connector (charger_id, connector_id)
SELECT charger_id, -connector_id FROM json_to_recordset(%s::json) AS row(charger_id text, connector_id int)
"""


async def test_a_number_above_a_hundred_is_in_the_history_and_makes_no_connector(
    raw: RawCharger, row: Charger, api: AdminApi
) -> None:
    for number in (100, 101, 5000, 2**31 - 1):
        for status in ("Available", "Faulted", "Available"):
            await raw.status(status, connector=number)
    shown = await api.charger(row.id)
    assert [one["connector_id"] for one in shown["connectors"]] == [1, 2, 100]
    history = await api.get(f"/chargers/{row.id}/status-history", connector_id=5000)
    assert [one["status"] for one in history["items"]] == ["Available", "Faulted", "Available"]


async def test_made_up_ones_can_be_removed(raw: RawCharger, row: Charger, api: AdminApi) -> None:
    for number in range(3, 60):
        await raw.status("Available", connector=number)
    changed = await api.client.put(f"/api/admin/chargers/{row.id}", json={"connectors": 2})
    assert (changed.status_code, len(changed.json()["connectors"])) == (200, 2)
    await raw.status("Charging", connector=3)
    assert (await api.connector(row.id, 3))["status"] == "Charging"


@pytest.mark.parametrize("number", [-1, -(2**31), 2**31, 2**62])
@pytest.mark.parametrize("status", ["Available", "Faulted"])
async def test_a_number_that_no_connector_has_is_refused_in_the_words_of_ocpp(
    raw: RawCharger, row: Charger, api: AdminApi, number: int, status: str
) -> None:
    payload = {"connectorId": number, "errorCode": "NoError", "status": status}
    frame = await raw.call("StatusNotification", payload)
    assert frame[:1] + frame[2:3] == [4, "PropertyConstraintViolation"], frame
    assert frame[3].startswith(f"connectorId is {number}"), frame


async def test_what_the_database_refuses_does_not_name_its_tables(
    raw: RawCharger, row: Charger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "STATUS", FactKind("broken", (BREAKS_A_RULE,)))
    payload = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
    frame = await raw.call("StatusNotification", payload)
    assert frame[2:4] == ["PropertyConstraintViolation", "a value cannot be stored: mend and send again"]
