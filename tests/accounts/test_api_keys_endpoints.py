"""API keys: made, shown once, used within what they were given, revoked."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.conftest import FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.api_keys_models import ApiKey
from ohmstead.accounts.api_keys_secrets import is_whole, new_key
from ohmstead.accounts.audit_models import AuditEntry
from ohmstead.accounts.models import Backoffice, BackofficeStatus, Role
from ohmstead.accounts.permissions import PERMISSIONS
from ohmstead.core.http import utc_z
from ohmstead.stations.models import Station

PATH = "/api/admin/api-keys"
STATIONS = "/api/admin/stations"


@pytest.fixture
async def business(world: World) -> Backoffice:
    return await world.backoffice()


@pytest.fixture
async def station(world: World, business: Backoffice) -> Station:
    return await world.station(business)


@pytest.fixture
async def owner(world: World, business: Backoffice) -> SignedIn:
    return await world.user(Role.BACKOFFICE, business)


async def made(client: httpx.AsyncClient, by: SignedIn, *permissions: str, **body: Any) -> dict[str, Any]:
    wanted = {"name": "Grafana", "permissions": list(permissions or ["stations:read"])} | body
    answer = await client.post(PATH, headers=by.headers, json=wanted)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


class TestMaking:
    async def test_it_is_shown_once_and_never_kept(
        self, client: httpx.AsyncClient, session: AsyncSession, owner: SignedIn, business: Backoffice
    ) -> None:
        key = await made(client, owner)
        assert is_whole(key["key"])
        assert key["begins_with"] == key["key"][:12]
        assert (key["backoffice_id"], key["created_by"]) == (str(business.id), str(owner.id))
        assert (key["last_used_at"], key["expires_at"], key["revoked_at"]) == (None, None, None)
        shown = (await client.get(f"{PATH}/{key['id']}", headers=owner.headers)).json()
        assert shown == {name: value for name, value in key.items() if name != "key"}
        listed = (await client.get(PATH, headers=owner.headers)).json()
        assert listed["items"] == [shown]
        for table in ("accounts_api_key", "accounts_audit_entry"):
            rows = (await session.execute(text(f"SELECT t::text FROM {table} t"))).scalars().all()  # noqa: S608
            assert rows
            assert not any(key["key"][12:] in row for row in rows)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "a\u0000b"}, "name"),
            ({"permissions": []}, "permissions"),
            ({"permissions": ["everything"]}, "permissions.0"),
            ({"permissions": ["users:manage"]}, "permissions.0"),
            ({"permissions": ["api-keys:manage"]}, "permissions.0"),
            ({"expires_at": "2026-05-04T12:00:00Z"}, "expires_at"),
            ({"expires_at": "2027-01-01T00:00:00"}, "expires_at"),
            ({"station_ids": ["x"]}, "station_ids.0"),
            ({"key": "ohm_mine"}, "key"),
        ],
    )
    async def test_what_makes_no_sense_is_refused(
        self, client: httpx.AsyncClient, owner: SignedIn, body: dict[str, Any], field: str
    ) -> None:
        wanted = {"name": "Grafana", "permissions": ["stations:read"]} | body
        answer = await client.post(PATH, headers=owner.headers, json=wanted)
        assert (answer.status_code, list(answer.json()["fields"])) == (422, [field]), answer.text

    async def test_no_business_makes_keys_for_another(
        self, client: httpx.AsyncClient, world: World, owner: SignedIn, station: Station
    ) -> None:
        other = await world.station()
        body = {"name": "x", "permissions": ["stations:read"]}
        wanted = body | {"backoffice_id": str(other.backoffice_id)}
        assert (await client.post(PATH, headers=owner.headers, json=wanted)).status_code == 403
        wanted = body | {"station_ids": [str(station.id), str(other.id)]}
        answer = await client.post(PATH, headers=owner.headers, json=wanted)
        assert answer.status_code == 422
        assert answer.json()["fields"] == {"station_ids": f"are no stations of this business: {other.id}"}

    async def test_an_operator_makes_none(
        self, client: httpx.AsyncClient, world: World, business: Backoffice, station: Station
    ) -> None:
        operator = await world.user(Role.OPERATOR, business, (station,))
        body = {"name": "x", "permissions": ["stations:read"]}
        assert (await client.post(PATH, headers=operator.headers, json=body)).status_code == 403

    async def test_a_key_for_stations_has_no_more_rights_than_an_operator(
        self, client: httpx.AsyncClient, owner: SignedIn, station: Station
    ) -> None:
        body = {"name": "x", "permissions": ["stations:manage"], "station_ids": [str(station.id)]}
        answer = await client.post(PATH, headers=owner.headers, json=body)
        assert answer.json()["fields"] == {"permissions": "not for this key: stations:manage"}

    async def test_an_admin_makes_them_for_any_business_or_for_all(
        self, client: httpx.AsyncClient, world: World, business: Backoffice, station: Station
    ) -> None:
        admin = await world.admin()
        await world.station()
        of_one = await made(client, admin, backoffice_id=str(business.id))
        of_all = await made(client, admin)
        assert (await client.get(STATIONS, headers=bearer(of_one))).json()["total"] == 1
        assert (await client.get(STATIONS, headers=bearer(of_all))).json()["total"] == 2
        body = {"name": "x", "permissions": ["stations:read"]}
        for wrong, field in (
            ({"backoffice_id": str(uuid4())}, "backoffice_id"),
            ({"station_ids": [str(station.id)]}, "backoffice_id"),
        ):
            answer = await client.post(PATH, headers=admin.headers, json=body | wrong)
            assert list(answer.json()["fields"]) == [field]


class TestUsing:
    async def test_either_header_will_do(
        self, client: httpx.AsyncClient, owner: SignedIn, station: Station
    ) -> None:
        key = await made(client, owner)
        for headers in (bearer(key), {"X-API-Key": key["key"]}):
            answer = await client.get(STATIONS, headers=headers)
            assert [one["id"] for one in answer.json()["items"]] == [str(station.id)], answer.text

    async def test_it_does_what_it_was_given_and_nothing_else(
        self, client: httpx.AsyncClient, owner: SignedIn, station: Station
    ) -> None:
        key = await made(client, owner)
        refused = await client.get("/api/admin/chargers", headers=bearer(key))
        assert (refused.status_code, refused.json()["error"]) == (403, "ApiKeyLacksPermission")
        assert "chargers:read" in refused.json()["message"]
        change = await client.put(f"{STATIONS}/{station.id}", headers=bearer(key), json={"name": "Mine"})
        assert change.status_code == 403
        for path in ("/api/auth/me", PATH, "/api/admin/users"):
            answer = await client.get(path, headers=bearer(key))
            assert (answer.status_code, answer.json()["error"]) == (403, "NotForApiKeys"), path

    async def test_no_permission_of_people_is_for_machines(self) -> None:
        for name in ("self", "users:manage", "api-keys:manage", "businesses:manage", "mail:read"):
            assert not PERMISSIONS[name].api_key, name

    async def test_it_sees_only_its_business_and_only_its_stations(
        self, client: httpx.AsyncClient, world: World, owner: SignedIn, business: Backoffice, station: Station
    ) -> None:
        second, others = await world.station(business), await world.station()
        of_business = await made(client, owner)
        of_station = await made(client, owner, station_ids=[str(second.id)])
        seen = {
            name: {one["id"] for one in (await client.get(STATIONS, headers=bearer(key))).json()["items"]}
            for name, key in (("business", of_business), ("station", of_station))
        }
        assert seen == {"business": {str(station.id), str(second.id)}, "station": {str(second.id)}}
        for path in (others.id, station.id):
            answer = await client.get(f"{STATIONS}/{path}", headers=bearer(of_station))
            assert answer.status_code == 404

    async def test_what_it_does_stands_under_its_name_in_the_audit_trail(
        self, client: httpx.AsyncClient, session: AsyncSession, owner: SignedIn
    ) -> None:
        key = await made(client, owner, "stations:manage")
        answer = await client.post(STATIONS, headers=bearer(key), json={"name": "By machine"})
        assert answer.status_code == 201, answer.text
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.action == "station.created"))
        assert entry is not None
        assert (entry.actor_kind, entry.actor_id) == ("api_key", key["id"])

    @pytest.mark.parametrize(
        "key",
        ["ohm_", "ohm_" + "0" * 42, new_key(), new_key()[:-1], "ohm_" + "é" * 42, "x", ""],
        ids=["nothing behind", "zeros", "never made", "cut off", "no ASCII", "short", "empty"],
    )
    async def test_what_is_no_key_of_ours_is_refused(self, client: httpx.AsyncClient, key: str) -> None:
        sent = key.encode()
        answer = await client.get(STATIONS, headers=[(b"X-API-Key", sent)])
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"
        answer = await client.get(STATIONS, headers=[(b"Authorization", b"Bearer " + sent)])
        assert answer.status_code == 401, answer.text

    async def test_it_is_over_when_it_is_over(
        self, client: httpx.AsyncClient, owner: SignedIn, clock: FrozenClock
    ) -> None:
        key = await made(client, owner, expires_at=utc_z(clock.now() + timedelta(hours=1)))
        clock.advance(3599)
        assert (await client.get(STATIONS, headers=bearer(key))).status_code == 200
        clock.advance(1)
        answer = await client.get(STATIONS, headers=bearer(key))
        assert (answer.status_code, answer.json()["error"]) == (401, "ApiKeyExpired")

    async def test_it_is_refused_while_its_business_is_not_at_work(
        self, client: httpx.AsyncClient, session: AsyncSession, owner: SignedIn, business: Backoffice
    ) -> None:
        key = await made(client, owner)
        row = await session.get_one(Backoffice, business.id)
        row.status = BackofficeStatus.REJECTED
        await session.commit()
        answer = await client.get(STATIONS, headers=bearer(key))
        assert (answer.status_code, answer.json()["error"]) == (401, "BusinessMissing")

    async def test_when_it_was_used_last_is_written_once_a_minute(
        self, client: httpx.AsyncClient, owner: SignedIn, clock: FrozenClock
    ) -> None:
        key = await made(client, owner)

        async def used() -> Any:
            return (await client.get(f"{PATH}/{key['id']}", headers=owner.headers)).json()["last_used_at"]

        await client.get(STATIONS, headers=bearer(key))
        first = await used()
        assert first == utc_z(clock.now())
        clock.advance(59)
        await client.get(STATIONS, headers=bearer(key))
        assert await used() == first
        clock.advance(1)
        await client.get(STATIONS, headers=bearer(key))
        assert await used() == utc_z(clock.now())


class TestChanging:
    async def test_a_change_takes_effect_at_once(
        self, client: httpx.AsyncClient, session: AsyncSession, owner: SignedIn
    ) -> None:
        key = await made(client, owner)
        change = {"name": "Prometheus", "permissions": ["chargers:read"]}
        answer = await client.put(f"{PATH}/{key['id']}", headers=owner.headers, json=change)
        assert answer.status_code == 200, answer.text
        assert answer.json()["permissions"] == ["chargers:read"]
        assert (await client.get(STATIONS, headers=bearer(key))).status_code == 403
        assert (await client.get("/api/admin/chargers", headers=bearer(key))).status_code == 200
        entry = await session.scalar(select(AuditEntry).where(AuditEntry.action == "api_key.updated"))
        assert entry is not None
        assert entry.before == {"name": "Grafana", "permissions": ["stations:read"]}
        assert entry.after == change

    async def test_a_revoked_one_is_refused_for_good_and_stays_in_the_list(
        self, client: httpx.AsyncClient, session: AsyncSession, owner: SignedIn, clock: FrozenClock
    ) -> None:
        key = await made(client, owner)
        for _ in range(2):  # twice is once
            answer = await client.delete(f"{PATH}/{key['id']}", headers=owner.headers)
            assert answer.status_code == 204
        answer = await client.get(STATIONS, headers=bearer(key))
        assert (answer.status_code, answer.json()["error"]) == (401, "ApiKeyRevoked")
        answer = await client.put(f"{PATH}/{key['id']}", headers=owner.headers, json={"name": "Again"})
        assert (answer.status_code, answer.json()["error"]) == (409, "ApiKeyRevoked")
        listed = (await client.get(f"{PATH}?revoked=true", headers=owner.headers)).json()["items"]
        assert [one["revoked_at"] for one in listed] == [utc_z(clock.now())]
        assert (await client.get(f"{PATH}?revoked=false", headers=owner.headers)).json()["items"] == []
        actions = (
            await session.scalars(
                select(AuditEntry.action).where(AuditEntry.entity == "api_key").order_by(AuditEntry.id)
            )
        ).all()
        assert actions == ["api_key.created", "api_key.revoked"]

    async def test_the_keys_of_another_business_do_not_exist(
        self, client: httpx.AsyncClient, session: AsyncSession, world: World, owner: SignedIn
    ) -> None:
        key = await made(client, owner)
        stranger = await world.user(Role.BACKOFFICE)
        path = f"{PATH}/{key['id']}"
        assert (await client.get(path, headers=stranger.headers)).status_code == 404
        assert (await client.put(path, headers=stranger.headers, json={"name": "x"})).status_code == 404
        assert (await client.delete(path, headers=stranger.headers)).status_code == 404
        assert (await client.get(PATH, headers=stranger.headers)).json()["items"] == []
        row = await session.get_one(ApiKey, UUID(key["id"]))
        assert (row.name, row.revoked_at) == ("Grafana", None)

    async def test_it_cannot_be_given_more_by_a_change_than_when_it_is_made(
        self, client: httpx.AsyncClient, owner: SignedIn, station: Station
    ) -> None:
        key = await made(client, owner, "stations:manage")
        path = f"{PATH}/{key['id']}"
        for change in ({"station_ids": [str(station.id)]}, {"permissions": ["users:manage"]}, {"name": None}):
            answer = await client.put(path, headers=owner.headers, json=change)
            assert answer.status_code == 422, change


class TestTheKeyItself:
    def test_no_two_are_alike_and_each_is_whole(self) -> None:
        keys = {new_key() for _ in range(100)}
        assert len(keys) == 100
        assert all(is_whole(key) for key in keys)

    def test_one_that_was_mistyped_is_not(self) -> None:
        key = new_key()
        for place in range(4, len(key)):
            other = "a" if key[place] != "a" else "b"
            assert not is_whole(key[:place] + other + key[place + 1 :])
