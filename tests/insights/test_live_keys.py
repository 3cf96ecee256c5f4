"""A machine that watches with an API key."""

from datetime import UTC, datetime

from tests.insights.conftest import Listener, LiveServer, listening
from tests.world import SignedIn, World

from ohmstead.accounts import api_keys
from ohmstead.accounts.api_keys_models import ApiKey
from ohmstead.accounts.models import Backoffice, Role
from ohmstead.accounts.principal import Principal
from ohmstead.stations.models import Charger

NOW = datetime(2026, 5, 4, tzinfo=UTC)


async def key_of(
    world: World, owner: SignedIn, business: Backoffice, *permissions: str
) -> tuple[ApiKey, str]:
    principal = Principal(owner.id, owner.email, Role.BACKOFFICE, business.id)
    async with world.database.session() as session:
        return await api_keys.create_key(
            session,
            world.settings,
            principal,
            name="Grafana",
            permissions=permissions,
            station_ids=[],
            expires_at=None,
            backoffice_id=None,
            now=NOW,
        )


async def snapshot_of(listener: Listener) -> list[str]:
    return [item["id"] for item in (await listener.hear_type("snapshot"))["items"]]


async def test_it_sees_what_its_business_sees_until_it_is_revoked(
    live_server: LiveServer, live_world: World, owner: SignedIn, business: Backoffice, charger: Charger
) -> None:
    row, key = await key_of(live_world, owner, business, "live")
    async with listening(live_server) as listener:
        await listener.say(token=key, topics=["chargers"])
        assert await snapshot_of(listener) == [charger.id]
        async with live_world.database.session() as session:
            principal = Principal(owner.id, owner.email, Role.BACKOFFICE, business.id)
            await api_keys.revoke_key(session, principal, row.id, NOW)
        live_server.bus.drop_user(row.id)
        assert (await listener.closed())[0] == 4403
    async with listening(live_server) as listener:
        await listener.say(token=key, topics=["chargers"])
        assert await listener.closed() == (4401, "This API key was revoked. Ask for a new one.")


async def test_it_needs_the_permission_to_watch(
    live_server: LiveServer, live_world: World, owner: SignedIn, business: Backoffice
) -> None:
    _, key = await key_of(live_world, owner, business, "stations:read")
    async with listening(live_server) as listener:
        await listener.say(token=key, topics=["chargers"])
        assert await listener.closed() == (4403, "This API key lacks the permission live.")
