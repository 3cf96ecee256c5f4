from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import select
from tests.conftest import NOW, FrozenClock
from tests.world import SignedIn, World

from ohmstead.accounts.authorization import authorize_token
from ohmstead.accounts.models import Role, TokenStatus
from ohmstead.charging.models import Session
from ohmstead.core.db import Database

URL = "/api/admin/id-tags"
READERS = [Role.SYSTEM_ADMIN, Role.BACKOFFICE, Role.OPERATOR]


async def post(client: httpx.AsyncClient, by: SignedIn, **body: Any) -> httpx.Response:
    return await client.post(URL, json=body, headers=by.headers)


async def get(client: httpx.AsyncClient, by: SignedIn, name: Any) -> httpx.Response:
    return await client.get(f"{URL}/{quote(str(name), safe='')}", headers=by.headers)


async def put(client: httpx.AsyncClient, by: SignedIn, name: Any, **body: Any) -> httpx.Response:
    return await client.put(f"{URL}/{quote(str(name), safe='')}", json=body, headers=by.headers)


async def remove(client: httpx.AsyncClient, by: SignedIn, name: Any) -> httpx.Response:
    return await client.delete(f"{URL}/{quote(str(name), safe='')}", headers=by.headers)


async def listed(client: httpx.AsyncClient, by: SignedIn, **query: Any) -> list[str]:
    answer = await client.get(URL, params=query, headers=by.headers)
    assert answer.status_code == 200, answer.text
    return [item["id_tag"] for item in answer.json()["items"]]


class TestWhoMay:
    @pytest.mark.parametrize(
        ("method", "path"), [("GET", ""), ("POST", ""), ("GET", "/TAG"), ("PUT", "/TAG"), ("DELETE", "/TAG")]
    )
    async def test_anonymous(self, client: httpx.AsyncClient, method: str, path: str) -> None:
        assert (await client.request(method, URL + path, json={})).status_code == 401

    async def test_an_operator_reads_and_does_not_write(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        business = await world.backoffice()
        operator = await world.user(Role.OPERATOR, business)
        await world.token(business.id, "TAG")
        assert await listed(client, operator) == ["TAG"]
        assert (await get(client, operator, "TAG")).status_code == 200
        assert (await post(client, operator, id_tag="NEW")).status_code == 403
        assert (await put(client, operator, "TAG", status="Blocked")).status_code == 403
        assert (await remove(client, operator, "TAG")).status_code == 403
        assert (await get(client, operator, "TAG")).json()["status"] == "Accepted"

    async def test_an_ev_owner_may_nothing(self, client: httpx.AsyncClient, world: World) -> None:
        owner = await world.user(Role.EV_OWNER)
        assert (await client.get(URL, headers=owner.headers)).status_code == 403
        assert (await get(client, owner, "TAG")).status_code == 403


class TestListIdTags:
    async def test_other_business_is_not_seen_nor_what_works_everywhere(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        mine, other = await world.backoffice(), await world.backoffice()
        await world.token(mine.id, "MINE")
        await world.token(other.id, "OTHER")
        await world.token(None, "WORLD")
        assert await listed(client, await world.user(Role.BACKOFFICE, mine)) == ["MINE"]
        assert await listed(client, await world.user(Role.OPERATOR, mine)) == ["MINE"]
        assert await listed(client, await world.admin()) == ["MINE", "OTHER", "WORLD"]

    async def test_filters_and_search(self, client: httpx.AsyncClient, world: World) -> None:
        admin, business = await world.admin(), await world.backoffice()
        await world.token(business.id, "AA-1", owner="Maya Lin")
        await world.token(None, "BB-2", status=TokenStatus.BLOCKED, parent_id_tag="FLEET")
        await world.token(None, "C_3")
        assert await listed(client, admin, status="Blocked") == ["BB-2"]
        assert await listed(client, admin, backoffice_id=str(business.id)) == ["AA-1"]
        assert await listed(client, admin, q="aa") == ["AA-1"]
        assert await listed(client, admin, q="maya") == ["AA-1"]
        assert await listed(client, admin, q="fleet") == ["BB-2"]
        assert await listed(client, admin, q="_") == ["C_3"]
        assert await listed(client, admin, q="%") == []

    async def test_another_business_s_filter_shows_nothing(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        other = await world.backoffice()
        await world.token(other.id, "OTHER")
        boss = await world.user(Role.BACKOFFICE)
        assert await listed(client, boss, backoffice_id=str(other.id)) == []

    @pytest.mark.parametrize("sort", ["id_tag", "-id_tag", "created_at", "-created_at"])
    async def test_pages_together_are_the_list_with_equal_keys_too(
        self, client: httpx.AsyncClient, world: World, sort: str
    ) -> None:
        admin = await world.admin()
        for tag in ("b", "A", "D", "c"):
            await world.token(None, tag, created_at=NOW)
        for _ in range(3):
            await world.token((await world.backoffice()).id, "SAME", created_at=NOW)
        whole = await listed(client, admin, sort=sort)
        assert len(whole) == 7
        if sort == "id_tag":
            assert whole == ["A", "b", "c", "D", "SAME", "SAME", "SAME"]
        paged: list[str] = []
        cursor = None
        while cursor is not None or not paged:
            query: dict[str, Any] = {"sort": sort, "limit": 2} | ({"cursor": cursor} if cursor else {})
            body = (await client.get(URL, params=query, headers=admin.headers)).json()
            paged += [item["id"] for item in body["items"]]
            cursor = body["next_cursor"]
        assert len(paged) == len(set(paged)) == 7

    @pytest.mark.parametrize(
        ("query", "field"),
        [({"status": "Lost"}, "status"), ({"sort": "owner"}, "sort"), ({"cursor": "x"}, "cursor"),
         ({"q": "\x00"}, "q"), ({"backoffice_id": "x"}, "backoffice_id")],
        ids=str,
    )  # fmt: skip
    async def test_a_query_that_makes_no_sense_names_its_fault(
        self, client: httpx.AsyncClient, world: World, query: dict[str, str], field: str
    ) -> None:
        answer = await client.get(URL, params=query, headers=(await world.admin()).headers)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]


class TestCreateIdTag:
    async def test_only_the_tag_is_needed(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        answer = await post(client, boss, id_tag="  Tag/1 ")
        assert answer.status_code == 201
        body = answer.json()
        assert UUID(body.pop("id"))
        assert UUID(body.pop("backoffice_id"))
        assert body == {
            "id_tag": "Tag/1",
            "status": "Accepted",
            "expires_at": None,
            "parent_id_tag": None,
            "owner": None,
            "max_concurrent_sessions": None,
            "created_at": "2026-05-04T12:00:00Z",
            "updated_at": "2026-05-04T12:00:00Z",
        }

    async def test_everything_that_is_sent_is_kept_and_times_become_utc(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin, business = await world.admin(), await world.backoffice()
        sent = {
            "id_tag": "TAG",
            "status": "Blocked",
            "parent_id_tag": "FLEET",
            "owner": "Maya",
            "max_concurrent_sessions": 2,
            "backoffice_id": str(business.id),
        }
        made = (await post(client, admin, **sent, expires_at="2026-12-31T23:59:59+02:00")).json()
        kept = (await get(client, admin, "TAG")).json()
        assert made == kept
        assert sent.items() <= kept.items()
        assert kept["expires_at"] == "2026-12-31T21:59:59Z"

    async def test_a_backoffice_makes_tags_of_its_own_business_only(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        mine, other = await world.backoffice(), await world.backoffice()
        boss = await world.user(Role.BACKOFFICE, mine)
        for given in ({}, {"backoffice_id": None}, {"backoffice_id": str(mine.id)}):
            answer = await post(client, boss, id_tag=f"T{len(str(given))}", **given)
            assert answer.json()["backoffice_id"] == str(mine.id)
        assert (await post(client, boss, id_tag="X", backoffice_id=str(other.id))).status_code == 403

    async def test_a_system_admin_s_tag_works_everywhere_unless_a_business_is_named(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        assert (await post(client, admin, id_tag="T")).json()["backoffice_id"] is None
        unknown = await post(client, admin, id_tag="T", backoffice_id=str(uuid4()))
        assert unknown.status_code == 422
        assert list(unknown.json()["fields"]) == ["backoffice_id"]

    async def test_a_tag_exists_once_in_a_business_in_any_case(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        mine = await world.backoffice()
        boss, admin = await world.user(Role.BACKOFFICE, mine), await world.admin()
        other = await world.user(Role.BACKOFFICE)
        assert (await post(client, boss, id_tag="Tag")).status_code == 201
        again = await post(client, boss, id_tag="tAG")
        assert (again.status_code, again.json()["error"]) == (409, "Conflict")
        assert (await post(client, admin, id_tag="TAG", backoffice_id=str(mine.id))).status_code == 409
        assert (await post(client, other, id_tag="TAG")).status_code == 201
        assert (await post(client, admin, id_tag="TAG")).status_code == 201
        assert (await post(client, admin, id_tag="tag")).status_code == 409

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"id_tag": ""}, "id_tag"),
            ({"id_tag": "   "}, "id_tag"),
            ({"id_tag": "x" * 21}, "id_tag"),
            ({"id_tag": "a\x00b"}, "id_tag"),
            ({"id_tag": "a\nb"}, "id_tag"),
            ({"id_tag": "a\u200bb"}, "id_tag"),
            ({"id_tag": None}, "id_tag"),
            ({"id_tag": 7}, "id_tag"),
            ({"status": "ConcurrentTx"}, "status"),
            ({"status": None}, "status"),
            ({"expires_at": "2026-12-31T23:59:59"}, "expires_at"),
            ({"expires_at": "0001-01-01T00:00:00+02:00"}, "expires_at"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"parent_id_tag": "x" * 21}, "parent_id_tag"),
            ({"parent_id_tag": ""}, "parent_id_tag"),
            ({"owner": "x" * 201}, "owner"),
            ({"owner": "\x00"}, "owner"),
            ({"max_concurrent_sessions": 0}, "max_concurrent_sessions"),
            ({"max_concurrent_sessions": True}, "max_concurrent_sessions"),
            ({"max_concurrent_sessions": "2"}, "max_concurrent_sessions"),
            ({"max_concurrent_sessions": 2.0}, "max_concurrent_sessions"),
            ({"max_concurrent_sessions": 10**30}, "max_concurrent_sessions"),
            ({"max_concurrent_sessions": 2**40}, "max_concurrent_sessions"),
            ({"backoffice_id": "mine"}, "backoffice_id"),
            ({"colour": "red"}, "colour"),
        ],
        ids=lambda value: ascii(value)[:40],
    )
    async def test_input_that_makes_no_sense_names_its_fault(
        self, client: httpx.AsyncClient, world: World, change: dict[str, Any], field: str
    ) -> None:
        admin = await world.admin()
        answer = await post(client, admin, **{"id_tag": "TAG", **change})
        assert answer.status_code == 422, answer.text
        assert list(answer.json()["fields"]) == [field]
        assert await listed(client, admin) == []

    @pytest.mark.parametrize(
        "tag",
        [
            "x" * 20,
            "ÄÖÜ-ßéñ",
            "a b",
            "%",
            "_",
            "..",
            "a/b/c",
            "#?&",
            "0",
            "null",
            "a%2fb",
            "a%2Fb",
            "a%252fb",
            "/",
        ],
    )
    async def test_whatever_can_be_printed_can_be_a_tag_and_a_path(
        self, client: httpx.AsyncClient, world: World, tag: str
    ) -> None:
        admin = await world.admin()
        made = (await post(client, admin, id_tag=tag)).json()
        name = made["id"] if tag == ".." else tag  # clients tidy `..` away: the id names it
        assert (await get(client, admin, name)).json() == made
        assert (await put(client, admin, name, owner="Maya")).json()["owner"] == "Maya"
        assert (await remove(client, admin, name)).status_code == 204
        assert (await get(client, admin, name)).status_code == 404


class TestGetIdTag:
    @pytest.mark.parametrize("role", READERS)
    async def test_by_text_in_any_case_and_by_id(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        business = await world.backoffice()
        user = await world.user(role, None if role is Role.SYSTEM_ADMIN else business)
        token = await world.token(business.id, "Tag-1")
        for name in ("Tag-1", "TAG-1", token.id, token.id.hex, str(token.id).upper()):
            assert (await get(client, user, name)).json()["id"] == str(token.id)

    @pytest.mark.parametrize("role", [Role.BACKOFFICE, Role.OPERATOR])
    async def test_another_business_s_tag_is_not_found_by_text_nor_id(
        self, client: httpx.AsyncClient, world: World, role: Role
    ) -> None:
        other = await world.token((await world.backoffice()).id, "OTHER")
        everywhere = await world.token(None, "WORLD")
        user = await world.user(role)
        for name in ("OTHER", other.id, "WORLD", everywhere.id):
            assert (await get(client, user, name)).status_code == 404

    async def test_one_s_own_of_two_equal_tags_is_meant(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        mine = await world.backoffice()
        await world.token((await world.backoffice()).id, "TAG")
        await world.token(None, "TAG")
        own = await world.token(mine.id, "TAG")
        boss = await world.user(Role.BACKOFFICE, mine)
        assert (await get(client, boss, "TAG")).json()["id"] == str(own.id)

    async def test_a_system_admin_means_the_tag_for_everywhere_and_is_asked_where_it_is_unclear(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        one = await world.token((await world.backoffice()).id, "TAG")
        assert (await get(client, admin, "TAG")).json()["id"] == str(one.id)
        await world.token((await world.backoffice()).id, "TAG")
        assert (await get(client, admin, "TAG")).status_code == 409
        assert (await remove(client, admin, "TAG")).status_code == 409
        assert (await get(client, admin, one.id)).status_code == 200
        everywhere = await world.token(None, "TAG")
        assert (await get(client, admin, "TAG")).json()["id"] == str(everywhere.id)

    @pytest.mark.parametrize("name", ["NOBODY", "x" * 21, "a\x00b", "%", str(UUID(int=7)), "x" * 2000])
    async def test_what_does_not_exist_is_not_found(
        self, client: httpx.AsyncClient, world: World, name: str
    ) -> None:
        admin = await world.admin()
        await world.token(None, "TAG")
        assert (await get(client, admin, name)).status_code == 404

    async def test_a_slash_and_what_looks_like_one_are_two_tags(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        paths = {"a/b": "a%2Fb", "a%2fb": "a%252fb", "a%25b": "a%2525b", "a%b": "a%25b"}
        for tag in paths:
            await world.token(None, tag)
        for tag, path in paths.items():
            assert (await client.get(f"{URL}/{path}", headers=admin.headers)).json()["id_tag"] == tag
        assert (await client.get(f"{URL}/a%2fb", headers=admin.headers)).json()["id_tag"] == "a/b"
        assert (await client.delete(f"{URL}/a%252fb", headers=admin.headers)).status_code == 204
        assert await listed(client, admin, sort="id_tag") == ["a%25b", "a%b", "a/b"]


class TestChangeIdTag:
    async def test_what_is_absent_stays_and_null_clears(
        self, client: httpx.AsyncClient, world: World, clock: FrozenClock
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        full = {"owner": "Maya", "parent_id_tag": "FLEET", "max_concurrent_sessions": 3}
        made = (await post(client, boss, id_tag="TAG", expires_at="2027-01-01T00:00:00Z", **full)).json()
        clock.advance(60)
        changed = (await put(client, boss, "tag", status="Blocked")).json()
        assert changed == {**made, "status": "Blocked", "updated_at": "2026-05-04T12:01:00Z"}
        nothing = {"owner": None, "parent_id_tag": None, "max_concurrent_sessions": None, "expires_at": None}
        cleared = (await put(client, boss, "TAG", **nothing)).json()
        assert cleared == {**changed, **nothing}
        assert (await get(client, boss, "TAG")).json() == cleared

    @pytest.mark.parametrize(
        ("change", "field"),
        [({"status": None}, "status"), ({"id_tag": None}, "id_tag"), ({"id_tag": "x" * 21}, "id_tag"),
         ({"max_concurrent_sessions": -1}, "max_concurrent_sessions"), ({"id": "x"}, "id")],
        ids=str,
    )  # fmt: skip
    async def test_input_that_makes_no_sense_names_its_fault(
        self, client: httpx.AsyncClient, world: World, change: dict[str, Any], field: str
    ) -> None:
        admin = await world.admin()
        await world.token(None, "TAG")
        answer = await put(client, admin, "TAG", **change)
        assert answer.status_code == 422
        assert list(answer.json()["fields"]) == [field]

    async def test_it_is_renamed_unless_the_name_is_taken(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        admin = await world.admin()
        token = await world.token(None, "OLD")
        await world.token(None, "Taken")
        assert (await put(client, admin, "OLD", id_tag="old")).json()["id_tag"] == "old"
        assert (await put(client, admin, "OLD", id_tag="TAKEN")).status_code == 409
        assert (await put(client, admin, "OLD", id_tag="NEW")).json()["id"] == str(token.id)
        assert (await get(client, admin, "OLD")).status_code == 404

    async def test_only_a_system_admin_gives_it_to_another_business(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        mine, other = await world.backoffice(), await world.backoffice()
        boss, admin = await world.user(Role.BACKOFFICE, mine), await world.admin()
        await world.token(mine.id, "TAG")
        for given in (None, str(other.id)):
            assert (await put(client, boss, "TAG", backoffice_id=given)).status_code == 403
        assert (await put(client, boss, "TAG", backoffice_id=str(mine.id))).status_code == 200
        assert (await put(client, admin, "TAG", backoffice_id=str(uuid4()))).status_code == 422
        moved = await put(client, admin, "TAG", backoffice_id=str(other.id))
        assert moved.json()["backoffice_id"] == str(other.id)
        assert (await put(client, admin, "TAG", backoffice_id=None)).json()["backoffice_id"] is None

    async def test_another_business_s_tag_is_not_found_and_stays(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        boss, admin = await world.user(Role.BACKOFFICE), await world.admin()
        for owner in ((await world.backoffice()).id, None):
            token = await world.token(owner)
            for name in (token.id, token.id_tag):
                assert (await put(client, boss, name, status="Blocked")).status_code == 404
                assert (await remove(client, boss, name)).status_code == 404
            assert (await get(client, admin, token.id)).json()["status"] == "Accepted"

    async def test_the_next_authorization_sees_the_change(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin = await world.admin()
        await world.token(None, "TAG")

        async def decided() -> TokenStatus:
            async with db.session() as session:
                return (await authorize_token(session, id_tag="tag", backoffice_id=None, now=NOW)).status

        assert await decided() is TokenStatus.ACCEPTED
        await put(client, admin, "TAG", status="Blocked")
        assert await decided() is TokenStatus.BLOCKED
        await put(client, admin, "TAG", status="Accepted", expires_at="2026-05-04T12:00:00Z")
        assert await decided() is TokenStatus.EXPIRED
        await remove(client, admin, "TAG")
        assert await decided() is TokenStatus.INVALID


class TestDeleteIdTag:
    async def test_it_is_gone_and_deleting_twice_is_not_found(
        self, client: httpx.AsyncClient, world: World
    ) -> None:
        boss = await world.user(Role.BACKOFFICE)
        await post(client, boss, id_tag="TAG")
        gone = await remove(client, boss, "tag")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await remove(client, boss, "TAG")).status_code == 404
        assert (await post(client, boss, id_tag="TAG")).status_code == 201

    async def test_its_sessions_stay_and_keep_its_text(
        self, client: httpx.AsyncClient, world: World, db: Database
    ) -> None:
        admin = await world.admin()
        token = await world.token(None, "TAG")
        charge = await world.session(await world.charger(), id_tag="TAG", token_id=token.id)
        assert (await remove(client, admin, "TAG")).status_code == 204
        async with db.session() as session:
            query = select(Session.id_tag, Session.token_id).where(Session.id == charge.id)
            assert (await session.execute(query)).one() == ("TAG", None)
