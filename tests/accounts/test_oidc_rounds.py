"""A round by way of a provider, as far as no provider is needed for it."""

from uuid import uuid4

import pytest
from pydantic import SecretStr
from tests.conftest import NOW

from ohmstead.accounts.oidc_rounds import RoundOver, begin, cookie_of, inside, read_cookie
from ohmstead.core.config import Settings
from ohmstead.core.errors import Invalid


@pytest.fixture
def below(settings: Settings) -> Settings:
    """An installation that shares its host with others."""
    return settings.model_copy(update={"public_url": "https://acme.example/charging"})


@pytest.mark.parametrize("address", ["/", "/x?y=1#z", "https://acme.example/charging/x", "?x=1"])
def test_what_lies_inside_is_an_address_of_ours(below: Settings, address: str) -> None:
    if address.startswith("?"):
        address = below.public_url + address
    assert inside(below, address).startswith("https://acme.example/charging")


@pytest.mark.parametrize(
    "address",
    [
        "https://acme.example/",
        "https://acme.example/chargingelse",
        "https://acme.example/charging/../admin",
        "https://acme.example/charging/%2E%2e/admin",
        "https://acme.example/charging/..%5cadmin",
        "http://acme.example/charging/",
        "charging/",
    ],
)
def test_what_shares_only_the_host_lies_outside(below: Settings, address: str) -> None:
    with pytest.raises(Invalid):
        inside(below, address)


def test_a_round_outlives_the_change_of_the_secret_and_a_secret_that_is_gone_ends_it(
    settings: Settings,
) -> None:
    provider_id = uuid4()
    one = begin(settings, provider_id, return_to="/", challenge=None, links=False, now=NOW)
    cookie = cookie_of(one)
    new = SecretStr("another secret of the tests, as long")
    changed = settings.model_copy(update={"secret_key": new, "secret_key_previous": settings.secret_key})
    again = read_cookie(changed, cookie, one.state, provider_id, NOW)
    assert (again.nonce, again.verifier) == (one.nonce, one.verifier)
    gone = settings.model_copy(update={"secret_key": new})
    with pytest.raises(RoundOver):
        read_cookie(gone, cookie, one.state, provider_id, NOW)


def test_no_two_rounds_and_no_two_purposes_share_a_value(settings: Settings) -> None:
    rounds = [
        begin(settings, uuid4(), return_to="/", challenge=None, links=False, now=NOW) for _ in range(20)
    ]
    values = [value for one in rounds for value in (one.state, one.nonce, one.verifier)]
    assert len(set(values)) == 60
