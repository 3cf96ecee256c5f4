"""What a charger is told of an id tag, on the wire (OCPP 1.6 7.8)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chargers import RawCharger
from tests.gateway.admin import AdminApi
from tests.world import World

from ohmstead.stations.models import Charger

YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
NEXT_YEAR = YESTERDAY + timedelta(days=365)


def written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, {"status": "Accepted"}),
        ({"status": "Blocked"}, {"status": "Blocked"}),
        ({"status": "Expired"}, {"status": "Expired"}),
        ({"status": "Invalid"}, {"status": "Invalid"}),
        ({"expires_at": YESTERDAY}, {"status": "Expired", "expiryDate": written(YESTERDAY)}),
        ({"expires_at": NEXT_YEAR}, {"status": "Accepted", "expiryDate": written(NEXT_YEAR)}),
        (
            {"status": "Blocked", "expires_at": YESTERDAY},
            {"status": "Blocked", "expiryDate": written(YESTERDAY)},
        ),
        ({"parent_id_tag": "NOBODY"}, {"status": "Accepted", "parentIdTag": "NOBODY"}),
    ],
)
async def test_authorize_and_start_are_answered_alike(
    *,
    raw: RawCharger,
    row: Charger,
    api: AdminApi,
    server_world: World,
    fields: dict[str, Any],
    told: dict[str, str],
) -> None:
    tag = (await server_world.token(row.backoffice_id, **fields)).id_tag
    assert (await raw.result("Authorize", {"idTag": tag.lower()}))["idTagInfo"] == told
    started = await raw.start(tag)
    assert started["idTagInfo"] == told
    # Whatever it is told, a charger may deliver energy: the session is kept, with what was told.
    session = await api.transaction(started["transactionId"])
    assert (session["status"], session["id_tag_status"]) == ("Active", told["status"])
    stopped = await raw.stop(started["transactionId"], idTag=tag)
    assert stopped["idTagInfo"] == told


@pytest.mark.parametrize("fields", [{"status": "Blocked"}, {"expires_at": YESTERDAY}])
async def test_a_tag_whose_parent_may_not_charge_is_blocked(
    raw: RawCharger, row: Charger, server_world: World, fields: dict[str, Any]
) -> None:
    parent = (await server_world.token(row.backoffice_id, **fields)).id_tag
    tag = (await server_world.token(row.backoffice_id, parent_id_tag=parent)).id_tag
    told = {"status": "Blocked", "parentIdTag": parent}
    assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"] == told
    assert (await raw.start(tag))["idTagInfo"] == told


async def test_an_unknown_tag_and_one_of_another_business_are_invalid(
    raw: RawCharger, server_world: World
) -> None:
    foreign = (await server_world.token((await server_world.backoffice()).id)).id_tag
    for number, tag in enumerate(("NOBODY-HAS-THIS", foreign), start=1):
        assert (await raw.result("Authorize", {"idTag": tag}))["idTagInfo"] == {"status": "Invalid"}
        assert (await raw.start(tag, connector=number))["idTagInfo"] == {"status": "Invalid"}


async def test_what_an_operator_changes_holds_from_the_next_message_on(
    raw: RawCharger, row: Charger, api: AdminApi, server_world: World
) -> None:
    tag = (await server_world.token(row.backoffice_id)).id_tag

    async def told() -> str:
        answer = await raw.result("Authorize", {"idTag": tag})
        return str(answer["idTagInfo"]["status"])

    path = f"/api/admin/id-tags/{tag}"
    assert await told() == "Accepted"
    for change, status in (
        ({"status": "Blocked"}, "Blocked"),
        ({"status": "Accepted", "expires_at": written(YESTERDAY)}, "Expired"),
        ({"expires_at": None}, "Accepted"),
    ):
        assert (await api.client.put(path, json=change)).status_code == 200
        assert await told() == status
    assert (await api.client.delete(path)).status_code == 204
    assert await told() == "Invalid"
