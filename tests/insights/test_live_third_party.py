"""Somebody who watches with a token of a third party."""

import time
from collections.abc import Iterator

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from pydantic import SecretStr
from tests.insights.conftest import LiveServer, listening
from tests.world import SignedIn, World

from ohmstead.accounts.oidc_models import Identity
from ohmstead.stations.models import Charger

SECRET = "the JWT secret of a Supabase project"
ISSUER = "https://project.supabase.example/auth/v1"


def token_of(subject: str, seconds: int = 3600) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "authenticated", "sub": subject, "iat": now, "exp": now + seconds}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET), algorithms=["HS256"])


@pytest.fixture
def trusting(live_server: LiveServer) -> Iterator[LiveServer]:
    """The server of an installation that takes the tokens of a Supabase project."""
    state, before = live_server.app.state, live_server.app.state.settings
    state.settings = before.model_copy(update={"supabase_jwt_secret": SecretStr(SECRET)})
    yield live_server
    state.settings = before


async def test_who_is_linked_sees_what_it_sees_by_our_own_tokens(
    trusting: LiveServer, live_world: World, owner: SignedIn, charger: Charger
) -> None:
    subject = f"linked-{owner.id}"
    await live_world.add(
        Identity(provider_id=None, issuer=ISSUER, subject=subject, user_id=owner.id, made=False)
    )
    async with listening(trusting) as listener:
        await listener.say(token=token_of(subject), topics=["chargers"])
        assert [item["id"] for item in (await listener.hear_type("snapshot"))["items"]] == [charger.id]


@pytest.mark.parametrize(("subject", "seconds"), [("nobody", 3600), ("nobody", -120)])
async def test_nobody_else_is_let_in(trusting: LiveServer, subject: str, seconds: int) -> None:
    async with listening(trusting) as listener:
        await listener.say(token=token_of(subject, seconds), topics=["chargers"])
        assert (await listener.closed())[0] == 4401


async def test_when_the_token_ends_the_socket_does(
    trusting: LiveServer, live_world: World, owner: SignedIn
) -> None:
    subject = f"short-{owner.id}"
    await live_world.add(
        Identity(provider_id=None, issuer=ISSUER, subject=subject, user_id=owner.id, made=False)
    )
    async with listening(trusting) as listener:
        await listener.say(token=token_of(subject, 2), topics=["chargers"])
        assert (await listener.hear_type("welcome"))["topics"] == ["chargers"]
        assert (await listener.closed())[0] == 4401
